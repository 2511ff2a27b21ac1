"""What lies in what: the filesystems that have the files and disks in which other filesystems lie.

It is found by numbers: a loop device says on which device its file lies, no matter what the file is called by now and
where that filesystem is mounted. Source: loop(4), Documentation/ABI/testing/sysfs-block, proc(5),
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qga.agent.linux.block import resolved
from qga.agent.linux.host import Host, read_text
from qga.agent.linux.mounts import Mount, MountTree, all_mounts, unescape

LOOP_GET_STATUS64 = 0x4C05  # linux/loop.h
_STATUS_SIZE = 232  # struct loop_info64
_STATUS = struct.Struct("=QQQ")  # how it begins: lo_device and lo_inode of the file, lo_rdevice if it is a device

_ABOVE = ("upperdir", "workdir")  # of an overlay: where it writes

Number = tuple[int, int]  # major and minor


class Stack:
    """What each filesystem of this guest lies in."""

    def __init__(self, host: Host) -> None:
        """Read the mounts of this process. Raises CommandError where they cannot be read."""
        self._host = host
        mounts = all_mounts(host)
        self._tree = MountTree(mounts)
        self._mounts = {mount.device: mount for mount in reversed(mounts)}

    def below(self, number: Number) -> set[Number | None]:
        """Return the devices of all filesystems that it lies in, directly or not; None among them for an unknown one.

        ``number`` is a filesystem's as mountinfo has it. A circle of what the kernel says has an end.
        """
        found: set[Number | None] = set()
        left = [number]
        while left:
            for outer in self._directly_below(left.pop()):
                if outer not in found:
                    found.add(outer)
                    if outer is not None:
                        left.append(outer)
        return found - {number}

    def _directly_below(self, number: Number) -> Iterator[Number | None]:
        mount = self._mounts.get(number)
        if mount is None:
            yield from self._unmounted(number)
        elif mount.fstype == "overlay":
            yield from self._below_overlay(mount)
        elif mount.fstype == "btrfs":
            for disk in self._members(number):
                yield from self._below_disk(disk)
        elif number[0]:
            yield from self._below_disk(self._sysfs(number))
        elif mount.fstype != "tmpfs":
            yield None  # a server's, which may lie here as well

    def _unmounted(self, number: Number) -> Iterator[Number | None]:
        """Give the devices below a file whose own is in no list: on a subvolume of a btrfs, or mounted elsewhere."""
        yield None
        if number[0]:
            yield from self._below_disk(self._sysfs(number))
        else:
            yield from (number for number, mount in self._mounts.items() if mount.fstype == "btrfs")

    def _below_overlay(self, mount: Mount) -> Iterator[Number | None]:
        options = dict(option.split("=", 1) for option in mount.options.split(",") if "=" in option)
        for name in _ABOVE:
            path = unescape(options.get(name, ""))
            real = os.path.realpath(self._host.path(path))
            outer = self._tree.at(real.removeprefix(self._host.root)) if path.startswith("/") else None
            if name in options:
                yield outer.device if outer and os.path.isdir(real) else None

    def _sysfs(self, number: Number) -> str:
        return self._host.path(f"/sys/dev/block/{number[0]}:{number[1]}")

    def _members(self, number: Number) -> list[str]:
        """Return all disks of a btrfs, of which mountinfo has one: their directories in sysfs."""
        disk = self._sysfs(number)
        pools = self._host.path("/sys/fs/btrfs")
        with contextlib.suppress(OSError):
            name = os.path.basename(resolved(disk))
            for pool in os.listdir(pools):
                with contextlib.suppress(OSError):
                    names = os.listdir(f"{pools}/{pool}/devices")
                    if name in names:
                        return [f"{pools}/{pool}/devices/{name}" for name in names]
        return [disk]

    def _below_disk(self, disk: str) -> Iterator[Number | None]:
        """Return what a block device lies in: a loop device, its partitions, and what dm, md and bcache make of them.

        ``disk`` is its directory in sysfs; a partition's lies within its disk's.
        """
        with contextlib.suppress(OSError):
            disk = resolved(disk)
            if os.path.exists(f"{disk}/partition"):
                disk = os.path.dirname(disk)
            if os.path.isdir(f"{disk}/loop"):
                yield from self._below_loop(disk)
            elif os.path.basename(disk).startswith("nbd"):
                yield None
            for slave in os.listdir(f"{disk}/slaves"):
                yield from self._below_disk(f"{disk}/slaves/{slave}")

    def _below_loop(self, disk: str) -> Iterator[Number | None]:
        status = bytearray(_STATUS_SIZE)
        try:
            with _device(self._host, f"/dev/{os.path.basename(disk)}") as descriptor:
                self._host.ioctl(descriptor, LOOP_GET_STATUS64, status)
        except OSError:
            file = read_text(f"{disk}/loop/backing_file").removesuffix("\n")
            outer = self._tree.at(file)
            yield outer.device if outer else None
            return
        device, _, itself = _STATUS.unpack_from(status)
        if itself:  # no file, but another block device
            yield from self._below_disk(self._sysfs((os.major(itself), os.minor(itself))))
        else:
            yield os.major(device), os.minor(device)


@contextmanager
def _device(host: Host, path: str) -> Iterator[int]:
    descriptor = os.open(host.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def innermost_first(stack: Stack, mounts: Sequence[Mount]) -> list[Mount]:
    """Return the mounts from the last mounted to the first, but each before those that it lies in.

    What lies in something unknown comes before the rest: it may well lie in one of them, and hardly they in it.
    """
    below = {mount: stack.below(mount.device) for mount in mounts}
    latest = list(reversed(mounts))
    order: list[Mount] = []
    seen: set[Mount] = set()

    def place(mount: Mount) -> None:
        if mount not in seen:
            seen.add(mount)
            for inner in latest:
                if mount.device in below[inner]:
                    place(inner)
            order.append(mount)

    for mount in sorted(latest, key=lambda mount: None not in below[mount]):
        place(mount)
    return order
