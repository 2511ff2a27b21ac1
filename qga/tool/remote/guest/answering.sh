# Print the process that has started this, which is the agent, and the words that it was started with.
echo "$PPID"
tr '\0' ' ' <"/proc/$PPID/cmdline"
