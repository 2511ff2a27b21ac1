# Runs on a terminal that script(1) has made, and becomes the program; terminal.py does the same by itself.
# $1 DIRECTORY, $2 ROWS, $3 COLUMNS, $4 USER, empty for the agent's, $5 PATH, $6 how many NAME=VALUE follow, they, and
# the program with its arguments: by default the user's login shell.
directory=$1 rows=$2 columns=$3 user=$4 path=$5 pairs=$6
shift 6
umask 022
tty >"$directory/tty"
echo $$ >"$directory/leader"
stty echo iutf8 rows "$rows" cols "$columns"
me=$(id -un)
user=${user:-$me}
entry=$(getent passwd "$user" || grep "^$user:" /etc/passwd) || {
    echo "qga: the guest has no user $user"
    exit 127
}
IFS=: read -r _ _ _ _ _ home shell <<END
$entry
END
unset LANG
for file in /etc/default/locale /etc/locale.conf; do
    # shellcheck disable=SC1090
    [ -r "$file" ] && . "$file"
done
export HOME="$home" SHELL="${shell:-/bin/sh}" USER="$user" LOGNAME="$user" LANG="${LANG:-C.UTF-8}" PATH="$path"
cd "$HOME" || cd /
while [ "$pairs" -gt 0 ]; do
    export "${1?}"
    shift
    pairs=$((pairs - 1))
done
[ $# -gt 0 ] || set -- "$SHELL" -l
[ "$user" = "$me" ] || set -- runuser -u "$user" -- "$@"
exec "$@"
