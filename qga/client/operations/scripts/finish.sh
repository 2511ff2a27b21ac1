# Put part $2 in the place of $1: with mode $3, time $4 if there is one, and the owner of what it replaces. What of these
# cannot be had is said; then the copy is less open than it should be, never more.
put() { # FILE, which is open as 9: that stays what it is, whatever becomes of the name
    [ -z "$owner" ] || chown "$owner" /proc/self/fd/9
    chmod "$mode" /proc/self/fd/9
    [ -z "$time" ] || touch -m -d "@$time" /proc/self/fd/9 2>/dev/null || {
        touch -m -d "@${time%.*}" /proc/self/fd/9 && echo 'qga: times are kept in whole seconds: its touch knows no fractions' >&2
    }
    mv -f -T -- "$1" "./$name" && return
    rm -f -- "$1"
    exit 1
}

walk "$1"
part=$2 mode=$3 time=$4 owner=
[ ! -f "./$name" ] || owner=$(stat -c %u:%g -- "./$name")
if [ "$part" = "${here%/}/${part##*/}" ]; then
    exec 9<"$part"
    put "$part"
    exit
fi

# Others may change what is here. A hard link leads to the part or is not made; on another filesystem the copy is a file
# that is made now. Renaming it follows no link.
beside=./${part##*/}
rm -f -- "$beside"
if ln -T -- "$part" "$beside" 2>/dev/null; then
    exec 9<"$part"
else
    umask 077
    set -C
    exec 9>"$beside"
    # It opens what is there meanwhile and is not a regular file, as a device, or a link to one.
    [ "$(stat -L -c '%u %f' /proc/self/fd/9)" = "$me 8180" ] ||
        fail "$here: somebody has put something else in the place of the copy"
    cat <"$part" >&9 || {
        rm -f -- "$beside"
        exit 1
    }
fi
rm -f -- "$part"
put "$beside"
