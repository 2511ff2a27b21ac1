"""A guest with one of everything that an agent reports, and QEMU's own agent running beside ours."""

from __future__ import annotations

from tests.vm.guest import REFERENCE_PORT, Disk, Guest
from tests.vm.image import Image

REFERENCE_UNIT = "qga-reference"

USB_SLOT = 20  # of its controller, on the root bus

_MIB = 1 << 20

# Every bus that a disk can be on, and content for several of them: see SETUP.
DISKS = (
    Disk("virtio-blk-pci,serial=qga-blk", size=640 * _MIB),
    Disk("scsi-hd,bus=scsi0.0,scsi-id=3,lun=2,serial=qga-scsi", size=64 * _MIB),
    Disk("scsi-hd,bus=scsi0.0,scsi-id=5", size=32 * _MIB),
    Disk("scsi-hd,bus=lsi0.0,scsi-id=1,serial=qga-lsi", size=32 * _MIB),
    Disk("ide-hd,bus=ide.1,unit=1,serial=qga-ide", size=64 * _MIB),
    Disk("ide-hd,bus=ahci0.2,serial=qga-ahci", size=64 * _MIB),
    Disk("nvme,serial=qga-nvme", size=256 * _MIB),
    Disk("usb-storage,bus=usb0.0,serial=qga-usb", size=64 * _MIB),
    Disk("sd-card,bus=sd-bus", size=64 * _MIB),
)
DEVICES = f"""
    -device virtio-scsi-pci,id=scsi0
    -device lsi53c895a,id=lsi0
    -device pci-bridge,id=bridge0,chassis_nr=1
    -device ahci,id=ahci0,bus=bridge0,addr=3
    -device qemu-xhci,id=usb0,addr={USB_SLOT:#x}
    -device sdhci-pci
    -netdev user,id=net0,restrict=on -device e1000,netdev=net0,mac=52:54:00:00:00:01
    -netdev user,id=net1,restrict=on -device virtio-net-pci,netdev=net1,mac=52:54:00:00:00:02
""".split()

STORAGE = r"""set -ex
blk=/dev/disk/by-id/virtio-qga-blk
scsi=/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_qga-scsi
ide=/dev/disk/by-id/ata-QEMU_HARDDISK_qga-ide
ahci=/dev/disk/by-id/ata-QEMU_HARDDISK_qga-ahci
nvme=/dev/nvme0n1
usb=/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_qga-usb-0:0
lsi=/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_qga-lsi
udevadm wait --settle --timeout=60 $blk $scsi $ide $ahci $nvme $usb $lsi /dev/mmcblk0
printf 'label: gpt\nsize=160M\nsize=320M\nsize=64M, type=swap\n' | sfdisk -q $blk
printf 'label: dos\nsize=64M\nsize=128M\n' | sfdisk -q $nvme
udevadm settle

mkfs.ext4 -q $blk-part1
mkdir -p "/srv/with space"
mount $blk-part1 "/srv/with space"
mkdir /srv/größe
mkfs.xfs -q $blk-part2
mount $blk-part2 /srv/größe
mkswap -q $blk-part3
swapon $blk-part3

pvcreate -q $scsi $ide
vgcreate -q qga-group $scsi $ide
lvcreate -q -n two-disks -l 100%FREE qga-group
mkfs.ext4 -q /dev/qga-group/two-disks
mkdir "/srv/back\\slash"
mount /dev/qga-group/two-disks "/srv/back\\slash"

mdadm -q --create /dev/md0 --run --assume-clean --level=1 --metadata=1.2 --raid-devices=2 $ahci ${nvme}p1
mkfs.ext4 -q /dev/md0
mkdir $'/srv/new\nline\tand tab'
mount -o ro /dev/md0 $'/srv/new\nline\tand tab'

mkfs.btrfs -q ${nvme}p2
mkdir /srv/btrfs /srv/subvolume
mount ${nvme}p2 /srv/btrfs
btrfs -q subvolume create /srv/btrfs/part
mount -o subvol=part ${nvme}p2 /srv/subvolume

mkfs.vfat --mbr=no $usb >/dev/null
mkdir $'/srv/latin1-\xe9'
mount $usb $'/srv/latin1-\xe9'

# Mounted before the filesystem in one of its files, or QEMU 7.2 would hang when it freezes everything.
mkdir /srv/bound
mount --bind "/srv/with space/lost+found" /srv/bound

truncate -s 48M "/srv/with space/image"
echo 'size=40M' | sfdisk -q "/srv/with space/image"
loop=$(losetup -P --show -f "/srv/with space/image")
udevadm settle
mkfs.ext4 -q ${loop}p1
mkdir /srv/loop
mount ${loop}p1 /srv/loop

mkdir /srv/tmpfs /srv/overlay
mount -t tmpfs -o size=8M tmpfs /srv/tmpfs
mkdir /srv/tmpfs/upper /srv/tmpfs/work
mount -t overlay -o lowerdir=/srv/größe,upperdir=/srv/tmpfs/upper,workdir=/srv/tmpfs/work overlay /srv/overlay
udevadm settle
"""

NETWORK = """set -ex
named() { ip -o link | awk -v mac=$1 '$0 ~ mac { sub(":", "", $2); print $2 }'; }
sysctl -qw net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0
first=$(named 52:54:00:00:00:01)
second=$(named 52:54:00:00:00:02)
sysctl -qw net.ipv6.conf.$first.accept_ra=0 net.ipv6.conf.$second.accept_ra=0
ip link set $first name eth
ip link set $second name größe0
ip link set eth up
ip addr add 192.0.2.10/24 dev eth
ip addr add 192.0.2.11/25 dev eth label eth:1
ip addr add 2001:db8::10/64 dev eth nodad
ip link add link eth name eth.7 type vlan id 7
ip link set eth.7 up
ip addr add 10.7.0.1/16 dev eth.7
ip link add bridge type bridge
ip link set größe0 master bridge
ip link set größe0 up
ip link set bridge up
ip addr add 198.51.100.1/24 dev bridge
ip link add idle type dummy
ip tunnel add tunnel mode ipip local 192.0.2.10 remote 192.0.2.99
ip link set tunnel up
ip addr add 10.9.0.1 peer 10.9.0.2/32 dev tunnel
ip route add default via 192.0.2.1 metric 100
ip route add 203.0.113.0/25 via 192.0.2.2 mtu 1400 window 8192 rtt 100ms
ip route add blackhole 203.0.113.128/25
ip -6 route add default via fe80::1 dev eth metric 4096
ip -6 route add 2001:db8:1::/48 via 2001:db8::1 dev eth
ip -6 route add unreachable 2001:db8:2::/48
for i in $(seq 50); do ip -6 -o addr show tentative | grep -q . || break; sleep 0.2; done
"""

SYSTEM = r"""set -ex
ln -sf /usr/share/zoneinfo/Asia/Kathmandu /etc/localtime
{ cat /usr/lib/os-release; echo 'VARIANT="Test \"guest\" \$5"'; echo VARIANT_ID=test; } > /run/os-release
ln -sf /run/os-release /etc/os-release
useradd --create-home ann
mkdir -p -m 700 /root/.ssh
printf '# a comment\n\nssh-ed25519 AAAA one\n  ssh-rsa BBBB two\nssh-rsa CCCC three' > /root/.ssh/authorized_keys
python3 - <<'EOF'
import struct
USER_PROCESS, DEAD_PROCESS = 7, 8
with open("/run/utmp", "wb") as utmp:  # utmp(5), as on 64-bit Linux
    for kind, line, user, seconds, micros in (
        (USER_PROCESS, b"tty1", b"root", 1700000300, 250000),
        (USER_PROCESS, b"pts/0", b"somebody", 1700000200, 0),
        (DEAD_PROCESS, b"pts/1", b"nobody", 1700000000, 0),
        (USER_PROCESS, b"pts/2", b"root", 1700000100, 500000),
        (USER_PROCESS, b"pts/3", b"root", 1700000400, 0),
    ):
        fields = kind, 1, line, b"", user, b"", 0, 0, 1, seconds, micros
        utmp.write(struct.pack("=hxxi32s4s32s256shhiii16x20x", *fields))
EOF
"""


def interesting_guest(image: Image) -> Guest:
    """Return a guest that is not started. `prepare` it when it has booted."""
    return Guest(image, swap=False, cpus="2,maxcpus=4", memory="1024,slots=2,maxmem=2G", disks=DISKS, args=DEVICES)


def furnish(guest: Guest) -> None:
    """Disks, networks and names as above; a processor and memory plugged in and not yet online; QEMU's agent."""
    guest.check(STORAGE, timeout=120)
    guest.check(NETWORK)
    guest.check(SYSTEM)
    free = next(cpu for cpu in guest.qmp("query-hotpluggable-cpus") if "qom-path" not in cpu)
    guest.qmp("device_add", driver=free["type"], id="cpu-plugged", **free["props"])
    guest.qmp("object-add", qom_type="memory-backend-ram", id="plugged", size=256 * _MIB)
    guest.qmp("device_add", driver="pc-dimm", id="dimm", memdev="plugged")
    guest.check(
        "cd /sys/devices/system; for i in $(seq 50); do test -e cpu/cpu2 && "
        "grep -q offline memory/memory*/state && exit; sleep 0.2; done; exit 1"
    )
    start_reference(guest)


def start_reference(guest: Guest) -> None:
    options = f"-m virtio-serial -p /dev/virtio-ports/{REFERENCE_PORT} -t /run/{REFERENCE_UNIT}"
    guest.check(f"mkdir -p /run/{REFERENCE_UNIT}; systemd-run -q --unit {REFERENCE_UNIT} /usr/sbin/qemu-ga {options}")
