"""With a filesystem whose server is dead mounted, every read-only command still answers at once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest
from tests.vm.peer import Peer

AT_ONCE = 1.0  # seconds, under software emulation too
LOOKING = [
    "guest-get-cpustats",
    "guest-get-disks",
    "guest-get-diskstats",
    "guest-get-fsinfo",
    "guest-get-host-name",
    "guest-get-load",
    "guest-get-memory-block-info",
    "guest-get-memory-blocks",
    "guest-get-osinfo",
    "guest-get-time",
    "guest-get-timezone",
    "guest-get-users",
    "guest-get-vcpus",
    "guest-info",
    "guest-network-get-interfaces",
    "guest-network-get-route",
    "guest-ping",
]

# A filesystem in user space whose server never answers: mount(8) has no way to make one.
DEAD = """
import ctypes, os, sys, time
server = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
libc = ctypes.CDLL(None, use_errno=True)
for where in sys.argv[1:]:
    if libc.mount(b"dead", where.encode(), b"fuse", 0, options):
        sys.exit(os.strerror(ctypes.get_errno()))
open("/run/dead", "w").close()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def peer(guest: Guest) -> Iterator[Peer]:
    guest.check("modprobe fuse; modprobe loop; mkdir -p /mnt/over /mnt/dead; truncate -s 16M /root/lower.img")
    guest.check("mke2fs -q -t ext4 /root/lower.img; mount -o loop /root/lower.img /mnt/over")
    guest.check(f"cat > /run/dead.py <<'EOF'\n{DEAD}\nEOF")
    guest.check("systemd-run --quiet --unit dead python3 /run/dead.py /mnt/over")
    guest.check("for i in $(seq 100); do [ -e /run/dead ] && exit; sleep 0.1; done; exit 1", timeout=30)
    with guest.peer() as peer:
        peer.sync()
        yield peer
    guest.check("systemctl stop dead; umount -l /mnt/over; umount /mnt/over; rm /root/lower.img")


def test_the_mount_is_dead(guest: Guest, peer: Peer) -> None:
    assert guest.shell("timeout -s KILL 2 stat -f /mnt/over; exit $?")[0] == 137


@pytest.mark.parametrize("command", LOOKING)
def test_answers_at_once(peer: Peer, command: str) -> None:
    peer.call(command)  # once unmeasured: modules are loaded when first needed
    started = time.monotonic()
    found = peer.call(command)
    assert time.monotonic() - started < AT_ONCE
    if command == "guest-get-fsinfo":
        (lower,) = [filesystem for filesystem in found if filesystem["mountpoint"] == "/mnt/over"]
        assert (lower["type"], "used-bytes" in lower) == ("ext4", False)
