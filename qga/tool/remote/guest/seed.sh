#!/bin/sh
# Vendor data of cloud-init, which runs it at the first boot: installs the package for this system from the disk that
# this came with.
set -e
directory=$(mktemp -d)
mount -o ro /dev/disk/by-label/cidata "$directory"
if command -v dpkg >/dev/null; then
    # What is recommended would have to be fetched, and there may be no network.
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$directory"/*.deb ||
        dpkg -i "$directory"/*.deb
else
    rpm -U "$directory"/*.rpm
fi
umount "$directory"
rmdir "$directory"
