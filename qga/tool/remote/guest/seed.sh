# Vendor data of cloud-init, which runs it at the first boot: installs the package for this system from the disk that
# this came with.
directory=$(mktemp -d) || exit
trap 'umount "$directory"; rmdir "$directory"' EXIT
mount -o ro /dev/disk/by-label/cidata "$directory" || exit
# shellcheck disable=SC2034  # packages.sh, which stands before this, reads kind
command -v apt-get >/dev/null && kind=deb || kind=rpm
for package in "$directory"/*."$kind"; do
    install_file "$package" || exit
done
