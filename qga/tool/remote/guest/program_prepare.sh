# Makes the directory of one qga exec, and prints its path. $1 NAME, which the tool has made up and nobody can guess:
# so it can be removed also if ctrl-C comes before the answer.
base=${TMPDIR:-/tmp}
directory=$base/$1
# Those of earlier runs that nothing was heard of for a day: the guest was started again meanwhile, or the agent killed.
find "$base" -maxdepth 1 -name 'qga.exec-*' -type d -user "$(id -u)" -mtime +0 -exec rm -rf -- {} + 2>/dev/null
mkdir -m 700 "$directory" && : >"$directory/out" && : >"$directory/err" &&
    mkfifo "$directory/in" "$directory/stdin" &&
    printf %s "$directory"
