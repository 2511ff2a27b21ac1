# Asks the guest's end of a terminal to end what runs there: ``q``, as __init__ has it. $1 DIRECTORY
# Opened for reading and writing: so it waits for nobody, also where nobody reads any more.
echo q 1<>"$1/in"
