# Functions for a system that has either dpkg or rpm: "kind" is deb or rpm.
# shellcheck disable=SC2154

# Whether a package is there, whole or in part: not only its configuration.
installed() {
    case $kind in
        deb)
            case $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) in
                '' | not-installed | config-files) return 1 ;;
            esac
            ;;
        rpm) rpm -q "$1" >/dev/null 2>&1 ;;
    esac
}

# Whether a package is there and configured: what failed has changed nothing of it.
whole() {
    case $kind in
        deb) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
        rpm) rpm -q "$1" >/dev/null 2>&1 ;;
    esac
}

# Install a package from a file. What it recommends would have to be fetched, and nobody is there to be asked about a
# file that was changed; where another process holds the lock, as at the first boot, it is waited for.
install_file() {
    case $kind in
        deb)
            export DEBIAN_FRONTEND=noninteractive
            apt-get install -y --no-install-recommends --allow-downgrades -o DPkg::Lock::Timeout=300 \
                -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$1" ||
                dpkg --force-confdef --force-confold -i "$1"
            ;;
        rpm) rpm -U --replacepkgs --oldpackage "$1" ;;
    esac
}

remove() {
    for try in 1 2 3 4 5 6 7 8 9 10; do
        case $kind in
            deb) dpkg --remove "$1" ;;
            rpm) rpm -e "$1" ;;
        esac && return
        sleep "$try"
    done
}
