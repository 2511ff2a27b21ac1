# install.sh start PACKAGE SECONDS: install a package away from the agent that started this, and write the exit status to
# "result" and what was said to "log", beside this file. Unless "confirmed" is there within so many seconds, the guest
# goes back to the agent of its distribution; where that is not there, what was upgraded stays as it is.
# shellcheck disable=SC2034  # packages.sh, which stands before this, reads kind
directory=$(dirname "$0") package=$2 patience=$3 kind=${2##*.}

if [ "$1" = start ]; then
    if [ -d /run/systemd/system ]; then
        exec systemd-run --quiet --collect sh "$0" work "$package" "$patience"
    fi
    setsid sh "$0" work "$package" "$patience" >/dev/null 2>&1 </dev/null &
    exit
fi

cd "$directory" || exit

go_back() {
    if installed qemu-guest-agent || [ ! "$is_upgrade" ]; then
        remove qga-agent >>undone 2>&1
    fi
}

installed qga-agent && is_upgrade=yes || is_upgrade=
install_file "$package" >log 2>&1
status=$?
if [ $status != 0 ] && ! whole qga-agent; then
    go_back
fi
echo $status >status
mv status result
while [ "$patience" -gt 0 ] && [ ! -e confirmed ]; do
    sleep 1
    patience=$((patience - 1))
done
if [ $status = 0 ] && [ ! -e confirmed ]; then
    go_back
fi
cd / && rm -r "$directory"
