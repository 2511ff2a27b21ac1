# Ends a program: $1 SIGNAL, and two seconds later SIGKILL. $2 its process id: the whole group if it leads one.
target=-$2
kill -0 "$target" || target=$2
kill "-$1" "$target"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$target" || exit
    sleep 0.2
done
kill -KILL "$target"
