r"""The mounted filesystems that lie on a block device: what can be frozen, trimmed and told about.

Source: proc(5), /proc/[pid]/mountinfo. A line:
``36 35 98:0 /root /mnt\0401 rw,noatime master:1 - ext4 /dev/sdb rw``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from qga.errors import CommandError
from qga.linux.host import Host

_MOUNTINFO = "/proc/self/mountinfo"
_MOUNTS = "/proc/self/mounts"
_ANONYMOUS = 0  # major number of what has no block device (proc, tmpfs, NFS, overlay) or may have several (btrfs)

_ESCAPE = re.compile(r"\\([0-7]{3}|\\)")


@dataclass(frozen=True)
class Mount:
    """``major`` and ``minor`` name the device; ``source`` is what was mounted, mostly its file in /dev."""

    major: int
    minor: int
    mountpoint: str
    fstype: str
    source: str

    @property
    def device(self) -> tuple[int, int]:
        return self.major, self.minor


def parse_mountinfo(text: str) -> list[Mount]:
    """All lines, in their order; one that makes no sense is left out."""
    mounts = []
    for line in text.split("\n"):  # splitlines() would cut at characters that a name may have
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        numbers = re.fullmatch("([0-9]+):([0-9]+)", fields[2]) if len(fields) > 4 else None
        if separator and numbers and len(rest) > 1:
            names = map(_unescape, (fields[4], rest[0], rest[1]))
            mounts.append(Mount(int(numbers[1]), int(numbers[2]), *names))
    return mounts


def parse_mounts(text: str) -> list[tuple[str, str, str]]:
    """Source, mount point and type of each line of /proc/mounts, see fstab(5)."""
    lines = (line.split(" ") for line in text.split("\n"))
    return [(_unescape(f[0]), _unescape(f[1]), _unescape(f[2])) for f in lines if len(f) > 2]


def list_mounts(host: Host) -> list[Mount]:
    """The first mount of each block device, in the order of mounting. Raises CommandError."""
    found: dict[tuple[int, int], Mount] = {}
    for mount in all_mounts(host):
        if mount.major != _ANONYMOUS:
            found.setdefault(mount.device, mount)
    return list(found.values())


def all_mounts(host: Host) -> list[Mount]:
    """Every mount that this process sees, in the order of mounting. Raises CommandError.

    A btrfs has the number of the device that it was mounted from; what lies on no device has the major number 0.
    """
    try:
        return [_with_device(host, mount) for mount in parse_mountinfo(host.read(_MOUNTINFO))]
    except OSError:
        pass  # a kernel before 2.6.26, or one that somebody has hardened
    try:
        lines = parse_mounts(host.read(_MOUNTS))
    except OSError as error:
        raise CommandError(f"failed to open mtab file: '{_MOUNTS}'") from error
    return [
        Mount(*(host.block_device(source) or (_ANONYMOUS, 0)), mountpoint, fstype, source)
        for source, mountpoint, fstype in lines
    ]


def mount_of(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount that a file lies on; ``mounts`` are in the order of mounting, ``path`` has no symbolic links."""
    around = (mount for mount in reversed(mounts) if f"{path}/".startswith(mount.mountpoint.rstrip("/") + "/"))
    return max(around, key=lambda mount: len(mount.mountpoint), default=None)


@contextmanager
def opened(host: Host, mount: Mount) -> Iterator[int]:
    """A descriptor of the mount point, which lets itself be opened whatever it is. Raises OSError."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(host.path(mount.mountpoint), flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _with_device(host: Host, mount: Mount) -> Mount:
    if mount.major != _ANONYMOUS or mount.fstype != "btrfs":
        return mount
    major, minor = host.block_device(mount.source) or mount.device
    return replace(mount, major=major, minor=minor)


def _unescape(field: str) -> str:
    r"""``\040`` is a space; the kernel writes space, tab, newline and backslash so."""
    return _ESCAPE.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1], 8)), field)
