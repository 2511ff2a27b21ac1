# The part $2 of a copy to $1, wherever it is.
walk "$1"
rm -f -- "${base%/}/$2"
