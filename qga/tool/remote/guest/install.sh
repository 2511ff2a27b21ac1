# install.sh start PACKAGE SECONDS: install a package away from the agent that started this, and write the exit status to
# "result" and what was said to "log", beside this file. Unless "confirmed" is there within so many seconds, the guest
# goes back to the agent that it had, where that was another.
directory=$(dirname "$0") package=$2 patience=$3

if [ "$1" = start ]; then
    if [ -d /run/systemd/system ]; then
        exec systemd-run --quiet --collect sh "$0" work "$package" "$patience"
    fi
    setsid sh "$0" work "$package" "$patience" >/dev/null 2>&1 </dev/null &
    exit
fi

cd "$directory" || exit
kind=${package##*.}

installed() {
    case $kind in
        deb) [ "$(dpkg-query -W -f '${db:Status-Abbrev}' qga-agent 2>/dev/null)" = 'ii ' ] ;;
        rpm) rpm -q qga-agent >/dev/null 2>&1 ;;
    esac
}

install() {
    case $kind in
        deb)
            export DEBIAN_FRONTEND=noninteractive
            # What is recommended would have to be fetched, and nobody is there to be asked about a changed file.
            apt-get install -y --no-install-recommends --allow-downgrades \
                -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$package" ||
                dpkg --force-confdef --force-confold -i "$package"
            ;;
        rpm) rpm -U --replacepkgs --oldpackage "$package" ;;
    esac
}

go_back() {
    case $kind in
        deb) dpkg --remove qga-agent ;;
        rpm) rpm -e qga-agent ;;
    esac
}

installed && is_upgrade=yes || is_upgrade=
install >log 2>&1
status=$?
[ $status = 0 ] || [ "$is_upgrade" ] || go_back >>undone 2>&1
echo $status >status
mv status result
while [ "$patience" -gt 0 ] && [ ! -e confirmed ]; do
    sleep 1
    patience=$((patience - 1))
done
[ -e confirmed ] || [ "$is_upgrade" ] || go_back >>undone 2>&1
cd / && rm -r "$directory"
