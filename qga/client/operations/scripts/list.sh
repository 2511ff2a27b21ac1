# What is in the directory $1, as the tool's listing has it, by $2 where find has no -printf; $3 is the text for entries.
if find / -prune -printf '' >/dev/null 2>&1; then
    find -H "$1" -printf "$2"
else
    find -H "$1" -exec sh -c "$3" sh "$1" {} +
fi
