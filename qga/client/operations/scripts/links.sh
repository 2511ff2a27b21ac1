# Make symbolic links: pairs of where one leads, and its path.
result=0 parent=
while [ $# -gt 0 ]; do
    [ "$parent" = "${2%/*}/." ] || walk "${2%/*}/."
    parent=${2%/*}/. name=${2##*/}
    ln -sfnT -- "$1" "./$name" || result=1
    shift 2
done
exit $result
