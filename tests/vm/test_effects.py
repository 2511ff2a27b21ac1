"""What freezing, trimming and copying files do to a real guest, verified in it and on its disks without the agent.

A script that must not finish is started with `shell_start`; its result is fetched when it may.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.guest import REFERENCE_PORT, Disk, Guest
from tests.vm.image import Image, find_program
from tests.vm.peer import AgentError, Peer

MIB = 1 << 20
SERVICE = "qemu-ga.service"
MARKER = "/run/qga.state.isfrozen"
EXT4, XFS = "/srv/ext4", "/srv/xfs"
DISK_OF = {EXT4: "disk0.raw", XFS: "disk1.raw"}
EVERYTHING = ["/", EXT4, XFS]
DISKS = [Disk("virtio-blk-pci", size=256 * MIB), Disk("virtio-blk-pci", size=384 * MIB)]

SETUP = f"""set -ex
udevadm wait --settle --timeout=60 /dev/vdb /dev/vdc
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/vdb
mkfs.xfs -q /dev/vdc
mkdir {EXT4} {XFS}
mount /dev/vdb {EXT4}
mount /dev/vdc {XFS}
"""


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    with Guest(image, swap=False, disks=DISKS) as guest:
        guest.boot()
        guest.check(SETUP)
        yield guest


@pytest.fixture
def peer(guest: Guest) -> Iterator[Peer]:
    """A synchronised client; whatever happens to the test, the guest's filesystems are thawed after it."""
    with guest.peer(timeout=60) as peer:
        peer.sync()
        yield peer
    for mountpoint in EVERYTHING:
        guest.shell(f"fsfreeze -u {mountpoint}")
    with guest.peer(timeout=60) as peer:
        peer.sync()
        peer.call("guest-fsfreeze-thaw")


class Writer:
    """A process that writes in the guest, and its progress."""

    def __init__(self, guest: Guest, script: str) -> None:
        self.guest = guest
        self.number = guest.shell_start(f"echo $$ >/run/writer; {script}; echo written")

    def blocked(self) -> bool:
        """Return whether it or a child of it is in uninterruptible sleep."""
        pids = "$(cat /run/writer) $(pgrep -P $(cat /run/writer))"
        return "D" in self.guest.check(f"sleep 1; ps -o state= -p $(echo {pids} | tr ' ' ,)").split()

    def result(self) -> tuple[int, str]:
        return self.guest.shell_result(self.number)


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Freeze and thaw


@pytest.mark.parametrize("mountpoint", [EXT4, XFS])
def test_write_waits_for_the_thaw_and_is_whole(guest: Guest, peer: Peer, mountpoint: str) -> None:
    guest.check(f"head -c {8 * MIB} /dev/urandom >/run/source; cp /run/source {mountpoint}/before")
    disk = guest.directory / DISK_OF[mountpoint]
    assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[mountpoint]) == 1
    frozen = digest(disk)
    writer = Writer(guest, f"cp /run/source {mountpoint}/during && sync {mountpoint}/during")
    assert writer.blocked()
    guest.check("sync -f /run; touch /var/tmp/elsewhere")  # what is not frozen goes on
    assert digest(disk) == frozen
    assert peer.call("guest-fsfreeze-thaw") == 1
    assert writer.result() == (0, "written\n")
    sums = guest.check(f"sha256sum </run/source; cd {mountpoint}; sha256sum <before; sha256sum <during").split()
    assert sums[0] == sums[2] == sums[4]
    guest.check(f"rm {mountpoint}/before {mountpoint}/during; sync -f {mountpoint}")


def test_snapshot_of_a_frozen_disk_is_clean_and_complete(guest: Guest, peer: Peer, tmp_path: Path) -> None:
    """Check the disk from the host: earlier writes are on it, and its journal needs no replay."""
    guest.check(f"head -c {4 * MIB} /dev/urandom >{EXT4}/before")
    expected = guest.check(f"sha256sum <{EXT4}/before").split()[0]
    assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[EXT4]) == 1
    snapshot = tmp_path / "snapshot"
    subprocess.run(["cp", "--sparse=always", guest.directory / DISK_OF[EXT4], snapshot], check=True)
    assert peer.call("guest-fsfreeze-thaw") == 1
    check = [find_program("e2fsck") or "e2fsck", "-f", "-n", str(snapshot)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recover" not in done.stdout + done.stderr
    copy = tmp_path / "before"
    debugfs = [find_program("debugfs") or "debugfs", "-R", f"dump /before {copy}", str(snapshot)]
    subprocess.run(debugfs, capture_output=True, check=True)
    assert digest(copy) == expected
    guest.check(f"rm {EXT4}/before")


def test_everything_is_frozen_while_it_is_written_to(guest: Guest, peer: Peer) -> None:
    loop = "for i in $(seq 50); do echo $i >>/var/tmp/log; sync /var/tmp/log; done"
    guest.check("rm -f /var/tmp/log")
    writer = Writer(guest, loop)
    guest.check("until test -s /var/tmp/log; do sleep 0.1; done")
    assert peer.call("guest-fsfreeze-status") == "thawed"
    assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
    assert peer.call("guest-fsfreeze-status") == "frozen"
    assert writer.blocked()
    counts = guest.check("wc -l </var/tmp/log; sleep 2; wc -l </var/tmp/log").split()
    assert counts[0] == counts[1] != "50"
    assert guest.check(f"stat -c %a {MARKER}") == "600\n"
    assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING)
    assert peer.call("guest-fsfreeze-status") == "thawed"
    assert guest.shell(f"test -e {MARKER}")[0] == 1
    assert writer.result() == (0, "written\n")
    assert guest.check("wc -l </var/tmp/log") == "50\n"
    assert peer.call("guest-fsfreeze-thaw") == 0


def test_little_is_permitted_while_frozen(guest: Guest, peer: Peer) -> None:
    assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[EXT4]) == 1
    permitted = {c["name"] for c in peer.call("guest-info")["supported_commands"] if c["enabled"]}
    assert permitted == {
        "guest-ping",
        "guest-info",
        "guest-sync",
        "guest-sync-delimited",
        "guest-fsfreeze-status",
        "guest-fsfreeze-thaw",
    }
    for name in ("guest-fsfreeze-freeze", "guest-file-open", "guest-fstrim", "guest-suspend-ram", "guest-get-vcpus"):
        with pytest.raises(AgentError) as caught:
            peer.call(name)
        assert caught.value.error_class == "CommandNotFound"
        assert caught.value.desc == f"Command {name} has been disabled: the command is not allowed"
    assert peer.call("guest-ping") == {}
    assert peer.call("guest-fsfreeze-thaw") == 1
    assert peer.call("guest-get-vcpus")


def test_what_somebody_else_has_frozen_is_not_counted(guest: Guest, peer: Peer) -> None:
    guest.check(f"fsfreeze -f {XFS}")
    assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[XFS]) == 0
    assert peer.call("guest-fsfreeze-status") == "thawed"
    assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[XFS, EXT4]) == 1
    assert peer.call("guest-fsfreeze-thaw") == 2  # who has frozen what is not known to a thaw


def test_stopped_agent_thaws(guest: Guest, peer: Peer) -> None:
    assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
    writer = Writer(guest, f"echo x >/var/tmp/x && sync /var/tmp/x && echo x >{XFS}/x")
    assert writer.blocked()
    guest.check(f"timeout 30 systemctl stop {SERVICE}", timeout=40)
    assert writer.result() == (0, "written\n")
    assert guest.shell(f"test -e {MARKER}")[0] == 1
    assert guest.shell(f"systemctl is-failed {SERVICE}")[1] == "inactive\n"
    guest.check(f"systemctl start {SERVICE}")
    peer.sync()
    assert peer.call("guest-fsfreeze-status") == "thawed"
    with pytest.raises(
        AgentError, match=r"thawed early, at \S+Z: the agent was stopped while it was frozen; what was"
    ):
        peer.call("guest-fsfreeze-thaw")
    assert peer.call("guest-fsfreeze-thaw") == 0


def test_killed_agent_comes_back_and_can_thaw(guest: Guest, peer: Peer) -> None:
    assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
    writer = Writer(guest, "echo x >/var/tmp/x")
    assert writer.blocked()
    killed = guest.check(f"systemctl show -P MainPID {SERVICE}").strip()
    guest.check(f"kill -KILL {killed}")
    guest.check(
        f"for i in $(seq 150); do test $(systemctl show -P MainPID {SERVICE}) = {killed} || break; sleep 0.1; done"
    )
    peer.sync()
    assert guest.check(f"systemctl show -P MainPID {SERVICE}").strip() not in ("0", killed)
    assert peer.call("guest-fsfreeze-status") == "frozen"
    with pytest.raises(AgentError, match="has been disabled"):
        peer.call("guest-fsfreeze-freeze")
    assert writer.blocked()
    assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING)
    assert writer.result() == (0, "written\n")
    assert peer.call("guest-fsfreeze-status") == "thawed"
    assert guest.shell(f"test -e {MARKER}")[0] == 1


# Trim


def test_trimmed_blocks_are_free_on_the_host(guest: Guest, peer: Peer) -> None:
    disk, size = guest.directory / DISK_OF[EXT4], 64 * MIB

    def allocated() -> int:
        return os.stat(disk).st_blocks * 512

    peer.call("guest-fstrim")  # what other tests have left behind
    before = allocated()
    guest.check(f"head -c {size} /dev/urandom >{EXT4}/big; sync -f {EXT4}")
    full = allocated()
    assert full - before > size * 0.9
    guest.check(f"rm {EXT4}/big; sync -f {EXT4}; sleep 1; sync -f {EXT4}")
    assert allocated() > before + size * 0.9
    paths = {path["path"]: path for path in peer.call("guest-fstrim")["paths"]}
    assert set(paths) == set(EVERYTHING)
    assert paths[EXT4]["trimmed"] >= size
    assert full - allocated() > size * 0.9


# Files

PIECE = 3 * MIB


def test_file_crosses_both_ways_unchanged(guest: Guest, peer: Peer) -> None:
    size = 100 * MIB + 12345
    content = random.Random(size).randbytes(size)
    expected = hashlib.sha256(content).hexdigest()
    handle = peer.call("guest-file-open", path="/var/tmp/big", mode="w")
    for start in range(0, size, PIECE):
        piece = content[start : start + PIECE]
        written = peer.call("guest-file-write", handle=handle, buf_b64=base64.b64encode(piece).decode())
        assert written["count"] == len(piece)
    peer.call("guest-file-flush", handle=handle)
    peer.call("guest-file-close", handle=handle)
    assert guest.check("sha256sum </var/tmp/big").split()[0] == expected
    handle = peer.call("guest-file-open", path="/var/tmp/big")
    found, ended = hashlib.sha256(), False
    while not ended:
        answer = peer.call("guest-file-read", handle=handle, count=PIECE)
        piece, ended = base64.b64decode(answer["buf-b64"]), answer["eof"]
        assert len(piece) == answer["count"]
        found.update(piece)
    peer.call("guest-file-close", handle=handle)
    assert found.hexdigest() == expected
    guest.check("rm /var/tmp/big")


# A filesystem in a file

# A loop device whose file lies on EXT4, mounted earlier than EXT4 in the order of a mount namespace of its own: that
# is copied branch by branch, so what lies below the first branch comes first.
LOOP = f"""set -ex
mkdir /srv/first
mount -t tmpfs tmpfs /srv/first
mkdir /srv/first/loop /srv/second
mount -t tmpfs tmpfs /srv/second
mkdir /srv/second/ext4
umount {EXT4}
mount /dev/vdb /srv/second/ext4
truncate -s 32M /srv/second/ext4/image
mkfs.ext4 -q /srv/second/ext4/image
mount -o loop /srv/second/ext4/image /srv/first/loop
systemd-run -q --unit namespace -p PrivateMounts=yes -p RuntimeDirectory=namespace \
    /opt/qga/bin/qemu-ga -t /run/namespace -p /dev/virtio-ports/{REFERENCE_PORT}
"""


def test_filesystem_in_a_file_of_another_is_frozen_first(guest: Guest) -> None:
    """Whatever the order of mounting: frozen after the other, it would wait for the thaw, and the agent with it.

    The last test: it leaves the filesystems where it has mounted them.
    """
    guest.check(LOOP)
    inner, outer = "/srv/first/loop", "/srv/second/ext4"
    with guest.peer(REFERENCE_PORT) as peer:
        peer.sync()
        mounts = guest.check("cat /proc/$(systemctl show -P MainPID namespace)/mountinfo")
        assert mounts.index(f" {inner} ") < mounts.index(f" {outer} ")
        write = f"dd if=/dev/urandom of={inner}/x bs=1M count=8 conv=fsync status=none"
        guest.check(write.replace(" conv=fsync", ""))  # there is something that the freeze has to write down
        assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING) + 1
        writer = Writer(guest, write)
        assert writer.blocked()
        assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING) + 1
        assert writer.result() == (0, "written\n")
