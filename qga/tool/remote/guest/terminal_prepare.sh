# Makes the directory of one terminal, in the agent's $TMPDIR or else on something that is not a disk if there is such a
# place, and finds what can make the terminal. $1 the candidates in order, of python3 and script.
# Prints three lines: the directory, the candidate, and its program; the last is empty if the guest has none of them.
for base in ${TMPDIR:+"$TMPDIR"} /run /dev/shm /tmp /var/tmp; do
    directory=$(mktemp -d "$base/qga.XXXXXXXX" 2>/dev/null) && break
done
{ : >"$directory/out.0" && : >"$directory/taken" && mkfifo -m 600 "$directory/in"; } || {
    rm -rf "$directory"
    exit 1
}
for candidate in $1; do
    case $candidate in
    python3)
        for program in python3 /usr/libexec/platform-python; do
            "$program" -c 'import contextlib, fcntl, pwd, select, struct, termios' 2>/dev/null && break 2
        done
        ;;
    script) program=$(command -v script) && break ;;
    esac
    program=
done
[ "$program" ] || rm -rf "$directory"
printf '%s\n' "$directory" "$candidate" "$program"
