# Runs the program of qga exec, in the guest's sh: this package's __init__ describes how it and the tool communicate.
# $1 DIRECTORY, $2 LINGER, $3 yes if the program gets stdin from the tool, then the program. It keeps this shell's
# process id, and leads a process group where the guest has setsid(1). What runs beside it is not its child.
d=$1 linger=$2 stdin=$3
shift 3

set_facts() { # of this shell's process, which the program will be: proc(5), stat, from its third field on
    group=$3 born=${20}
}

facts() {
    # shellcheck disable=SC2086
    IFS= read -r line <"/proc/$$/stat" && set_facts ${line##*) }
} 2>/dev/null

lives() { # whether the process id is still the program's
    [ "$(facts && echo "$born")" = "$1" ]
}

pump() { # stdin, as it comes; a piece may be announced twice
    while read -r n; do
        : >"$d/beat"
        case $n in
        h) ;;
        e) exec >&- ;;
        *) [ ! -e "$d/in.$n" ] || { cat "$d/in.$n" && rm -f "$d/in.$n"; } || exec >&- ;;
        esac
    done
}

end() { # the program, and its group if it leads one; SIGKILL two seconds later. This may be in that group.
    trap '' TERM
    kill -TERM "-$$" || kill -TERM "$$"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        lives "$1" || break
        sleep 0.2
    done
    rm -rf "$d"
    kill -KILL "-$$" || ! lives "$1" || kill -KILL "$$"
}

watch() { # until the tool has removed the directory, or was not heard of for LINGER seconds in which this guest ran
    left=$linger
    while [ -d "$d" ] && [ "$left" -gt 0 ]; do
        sleep 1
        if rm "$d/beat"; then left=$linger; else left=$((left - 1)); fi
    done
    kill "$1"
    if lives "$born"; then end "$born"; fi
    rm -rf "$d"
}

facts
if [ "$stdin" = yes ]; then input=$d/stdin; else input=/dev/null; fi
(
    (
        pump <>"$d/in" >"$input" &
        watch $!
    ) </dev/null >/dev/null 2>&1 &
)
[ "$stdin" = no ] || exec <"$input"
leading=
[ "$group" = $$ ] || leading=$(command -v setsid)
# shellcheck disable=SC2086
exec $leading "$@" >"$d/out" 2>"$d/err"
