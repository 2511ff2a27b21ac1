# Go to a place in the guest that others may be changing meanwhile: this package's __init__ has the rules.

LC_ALL=C
me=$(id -u)

fail() { # what is printed after "qga: " is for people; the rest is what programs said
    printf 'qga: %s\n' "$1" >&2
    exit 1
}

# What the kernel says about where this shell is: its own pwd may be what it believes.
is_here() { # PATH
    [ "$(readlink -n /proc/self/cwd && echo x)" = "${1}x" ]
}

# Sets trust: "all" names in the working directory can be changed by root and the agent's user only, or those that
# are their "own", or "none". And base, the innermost directory on the way where what is ours stays as it is.
judge() {
    [ "$trust" = all ] || is_here "$here" || fail "$here: somebody has put something else in its place"
    [ "$trust" = none ] && return
    trust=none
    set -- "$(stat -c '%u %a' .)"
    case $1 in
    '0 '* | "$me "*) ;;
    *) [ "$1" ] || fail 'the guest has no program stat, or one without -c'; return 0 ;;
    esac
    case $1 in
    *[2367]? | *[2367]) [ -k . ] && trust=own ;;
    *) trust=all ;;
    esac
    case $trust-${ascii:+$here} in
    none-* | *[!\ -~]*) ;;
    *) base=$here ;;
    esac
}

enter() { # NAME
    cd -P "./$1" 2>/dev/null || fail "${here%/}/$1: not a directory, or it cannot be entered"
    here=${here%/}/$1
    judge
}

# Go to the directory that holds PATH. Sets here to where that is, and name to the last word of PATH: it is not a link.
walk() { # PATH
    trust=all links=0 left=$1
    case $left in
    /*) ;;
    *) left=$(pwd -P)/$left ;;
    esac
    here=/ && cd / && judge
    while :; do
        while [ "${left#/}" != "$left" ]; do left=${left#/}; done
        name=${left%%/*} left=${left#"${left%%/*}"}
        if [ "$name" = .. ]; then
            [ "$trust" = all ] || fail "$here: others may move it, so what .. leads to is not certain"
            cd .. && here=${here%/*} && here=${here:-/} && judge
            name=
        elif [ "$name" = . ]; then
            name=
        elif [ "$name" ] && [ -L "./$name" ]; then
            [ "$trust" = all ] || fail "${here%/}/$name: a symbolic link that others may change: name what it leads to"
            links=$((links + 1))
            [ "$links" -le 40 ] || fail "$1: too many symbolic links"
            link=$(readlink -n -- "./$name" && echo x) && left=${link%x}$left
            case $left in
            /*) here=/ && cd / && judge ;;
            esac
            continue
        fi
        case $left in
        *[!/]*) ;;
        *) return 0 ;;
        esac
        [ -z "$name" ] || enter "$name"
    done
}
