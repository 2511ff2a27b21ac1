# What is left of copies into the directory $1 that nobody has gone on with for a day.
walk "$1/."
for where in "$base" .; do
    find "$where" -maxdepth 1 -name '.*.qga-part' -type f -user "$me" -mtime +0 -exec rm -f -- {} +
done
