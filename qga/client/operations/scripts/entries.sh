# As find's -printf of list.sh would, for what is in $1. The fraction of a second is in stat's %y only.
root=$1
shift
for path; do
    leads=x follow=
    [ "$path" != "$root" ] || follow=-L # as -H of find
    if [ -z "$follow" ] && [ -L "$path" ]; then
        kind=l leads=$(readlink -n -- "$path" && echo x)
    elif [ -d "$path" ]; then
        kind=d
    elif [ -f "$path" ]; then
        kind=f
    else
        kind=p
    fi
    name=${path#"$root"}
    # shellcheck disable=SC2086
    facts=$(stat $follow -c '%a %Y %y' -- "$path") || exit 1
    fraction=${facts#*.}
    facts=${facts% *-*-* *:*}
    printf '%s\0%s\0%s.%s\0%s\0%s\0' \
        "$kind" "${facts% *}" "${facts#* }" "${fraction%% *}" "${leads%x}" "${name#/}"
done
