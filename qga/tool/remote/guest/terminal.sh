# The guest's end of a terminal, run by its sh with script(1) of util-linux: this package's __init__ describes it.
# $1 DIRECTORY, $2 LINGER, $3 SEGMENT, $4 what script runs, which leaves its process id and terminal in the directory.

members() { # of the program's session, and alive, but for those that ignore SIGHUP: proc(5), stat and status
    for stat in /proc/[0-9]*/stat; do
        IFS= read -r line <"$stat" || continue
        pid=${stat#/proc/} pid=${pid%/stat}
        # shellcheck disable=SC2086
        set -- ${line##*) } # state, parent, group, session
        if [ "$4" != "$leader" ] || [ "$1" = Z ]; then continue; fi
        [ "$pid" != "$leader" ] && grep -q '^SigIgn:.*[13579bdf]$' "/proc/$pid/status" || echo "$pid"
    done
} 2>/dev/null

hang_up() { # SIGHUP, and two seconds later SIGKILL
    leader=$(cat "$d/leader" 2>/dev/null) || return
    for pid in $(members); do
        kill -HUP "$pid"
        kill -CONT "$pid"
    done
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ "$(members)" ] || return
        sleep 0.2
    done
    for pid in $(members); do kill -KILL "$pid"; done
}

relay() { # from the FIFO to the program
    taken=0 reported=0
    while IFS= read -r line; do
        : >"$d/beat"
        case $line in
        d*)
            line=${line#d}
            # shellcheck disable=SC2059
            printf "$line"
            taken=$((taken + ${#line} / 4))
            if [ $((taken - reported)) -ge 1024 ]; then
                echo "$taken" >>"$d/taken"
                reported=$taken
            fi
            ;;
        s*)
            # shellcheck disable=SC2086
            set -- $line
            stty rows "$2" cols "$3" <"$(cat "$d/tty")"
            ;;
        a*) rm -f "$d/out.${line#a }" ;;
        q)
            hang_up
            rm -rf "$d"
            exit
            ;;
        esac
    done <>"$d/in"
}

show() { # what script writes, in segments; what a full disk has no room for is lost
    n=0 size=0
    while :; do
        # As many reads as blocks would fill the segment, each of which may be short: never more than that.
        dd bs=1024 iflag=count_bytes count=$(($1 - size)) status=none >>"$d/out.$n"
        code=$? before=$size
        size=$(wc -c <"$d/out.$n") || return
        if [ "$size" -ge "$1" ]; then
            n=$((n + 1)) size=0
            while [ -e "$d/out.$((n - 2))" ]; do sleep 0.02; done
        elif [ "$code" -ne 0 ]; then
            sleep 0.2
        elif [ "$size" -eq "$before" ]; then
            return
        fi
    done
}

watch() { # for as long as there is something to watch
    silent=0
    while sleep 1 && [ -d "$d" ]; do
        silent=$((silent + 1))
        rm "$d/beat" && silent=0
        if [ "$silent" -ge "$1" ]; then
            hang_up
            rm -rf "$d"
        fi
    done
}

main() {
    d=$1
    mkfifo -m 600 "$d/keys" "$d/screen" || exit
    relay >"$d/keys" 2>/dev/null &
    relay=$!
    show "$3" <"$d/screen" 2>/dev/null &
    show=$!
    watch "$2" </dev/null >/dev/null 2>&1 &
    SHELL=/bin/sh script -q -e -f -c "$4" /dev/null <"$d/keys" >"$d/screen"
    code=$?
    wait "$show"
    kill "$relay"
    exit "$code"
}

umask 077
main "$@"
