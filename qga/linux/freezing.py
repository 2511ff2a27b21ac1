"""Freezing and thawing mounted filesystems: in which order, and what the kernel's answers mean.

Source: ioctl_fifreeze(2), linux/fs.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from qga.errors import CommandError
from qga.linux.block import resolved
from qga.linux.host import Host, read_text
from qga.linux.mounts import Mount, MountTree, all_mounts, opened

FIFREEZE = 0xC0045877  # _IOWR('X', 119, int)
FITHAW = 0xC0045878  # _IOWR('X', 120, int)

# What cannot be frozen (vfat, squashfs), and what somebody else has frozen: it is his to thaw.
_NOT_OURS = (errno.EOPNOTSUPP, errno.EBUSY)


def freezing_order(host: Host, mounts: Sequence[Mount]) -> list[Mount]:
    """Last mounted first, but always a filesystem that lies in a file before the one that has the file.

    The kernel freezes a filesystem by writing down what is pending. Into a file on a frozen filesystem that would
    wait for a thaw, and the agent with it. Thaw in the reverse order, for the same reason.
    """
    tree = MountTree(all_mounts(host))
    inside: defaultdict[tuple[int, int], list[Mount]] = defaultdict(list)
    for mount in mounts:
        for file in _backing_files(host.path(f"/sys/dev/block/{mount.major}:{mount.minor}")):
            outer = tree.at(file)
            if outer is not None:
                inside[outer.device].append(mount)
    order: list[Mount] = []
    seen: set[Mount] = set()

    def place(mount: Mount) -> None:
        if mount not in seen:
            seen.add(mount)
            for inner in inside[mount.device]:
                place(inner)
            order.append(mount)

    for mount in reversed(mounts):
        place(mount)
    return order


def freeze(host: Host, mounts: Iterable[Mount]) -> list[Mount]:
    """Freeze these, in this order; returns those that were frozen by it.

    If one fails, those frozen before it are thawed again, and CommandError is raised.
    """
    frozen: list[Mount] = []
    try:
        for mount in mounts:
            if _freeze(host, mount):
                frozen.append(mount)
    except BaseException:
        thaw(host, reversed(frozen))
        raise
    return frozen


def thaw(host: Host, mounts: Iterable[Mount]) -> int:
    """Thaw these, in this order, whoever has frozen them; returns how many of them were frozen. Never raises."""
    return sum(_thaw(host, mount) for mount in mounts)


def _freeze(host: Host, mount: Mount) -> bool:
    if mount.hidden:
        return False
    try:
        with opened(host, mount) as descriptor:
            try:
                host.ioctl(descriptor, FIFREEZE)
            except OSError as error:
                if error.errno in _NOT_OURS:
                    return False
                raise CommandError(f"failed to freeze {mount.mountpoint}: {error.strerror}") from error
    except OSError as error:
        raise CommandError(f"failed to open {mount.mountpoint}: {error.strerror}") from error
    return True


def _thaw(host: Host, mount: Mount) -> bool:
    """Until the kernel says that it is not frozen: old ones count how often it was."""
    thawed = False
    with contextlib.suppress(OSError), opened(host, mount) as descriptor:
        while True:
            host.ioctl(descriptor, FITHAW)
            thawed = True
    return thawed


def _backing_files(device: str) -> Iterator[str]:
    """The files that a block device lies in: a loop device, its partitions, and what dm and md make of them.

    ``device`` is a directory of sysfs, Documentation/ABI/testing/sysfs-block; a partition's lies within its disk's.
    """
    with contextlib.suppress(OSError):
        device = resolved(device)
        for disk in (device, os.path.dirname(device)):
            with contextlib.suppress(OSError):
                yield read_text(f"{disk}/loop/backing_file").removesuffix("\n")
        for below in os.listdir(f"{device}/slaves"):
            yield from _backing_files(f"{device}/slaves/{below}")
