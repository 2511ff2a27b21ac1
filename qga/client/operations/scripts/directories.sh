# Make directories, outer ones first: pairs of the umask that makes the mode, and the path.
result=0 parent=
while [ $# -gt 0 ]; do
    [ "$parent" = "${2%/*}/." ] || walk "${2%/*}/."
    parent=${2%/*}/. name=${2##*/}
    if [ -L "./$name" ]; then
        fail "$2 is a symbolic link: what is copied below it would leave the target"
    elif [ ! -d "./$name" ]; then
        (umask "$1" && mkdir -- "./$name") || result=1
    fi
    shift 2
done
exit $result
