# A part for a copy to $1, by the name $2, in the innermost directory where it stays ours. The part is the agent's
# user's alone: begun now, or left by an earlier try.
is_ours() { # FILE: a regular one, 0600, without another name
    [ "$(stat -c '%u %f %h' -- "$1" 2>/dev/null)" = "$me 8180 1" ]
}

walk "$1"
[ ! -d "./$name" ] || fail "$1 is a directory"
[ -f "./$name" ] || [ ! -e "./$name" ] || fail "$1 is not a regular file"
part=${base%/}/$2
size=0
if is_ours "$part"; then
    size=$(stat -c %s -- "$part")
else
    rm -f -- "$part" && (umask 077 && set -C && : >"$part") || exit 1
    # set -C opens what is there meanwhile and is not a regular file, as a device, or a link to one.
    is_ours "$part" || fail "$part: somebody has put something else in its place"
fi
for hasher in b2sum sha256sum ''; do command -v $hasher >/dev/null && break; done
mode=
[ ! -f "./$name" ] || mode=$(stat -c %a -- "./$name")
printf '%s\0' "$size" "$hasher" "$mode" "${here%/}/$name" "$part"
