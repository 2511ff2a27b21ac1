# Removes the directory of one qga exec. $1 NAME
rm -rf -- "${TMPDIR:-/tmp}/$1"
