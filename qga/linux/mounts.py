r"""The mounted filesystems that lie on a block device: what can be frozen, trimmed and told about.

Source: proc(5), /proc/[pid]/mountinfo. A line:
``36 35 98:0 /root /mnt\0401 rw,noatime master:1 - ext4 /dev/sdb rw``.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import NamedTuple

from qga.errors import CommandError
from qga.linux.host import Host

_MOUNTINFO = "/proc/self/mountinfo"
_MOUNTS = "/proc/self/mounts"
_ANONYMOUS = 0  # major number of what has no block device (proc, tmpfs, NFS, overlay) or may have several (btrfs)

# id, parent, major:minor, root, mount point, options and optional fields, type, source
_LINE = re.compile(
    r"^([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,10}):([0-9]{1,10}) [^ \n]+ ([^ \n]+)(?: [^ \n]*)*? - ([^ \n]*) ([^ \n]*)",
    re.MULTILINE,
)
_ESCAPE = re.compile(r"\\(?!000)([0-7]{3}|\\)")  # no path has a NUL


class Mount(NamedTuple):
    """``major`` and ``minor`` name the device; ``source`` is what was mounted, mostly its file in /dev.

    ``parent`` is the ``id`` of the mount that it lies upon. One that is ``hidden`` cannot be reached by its mount
    point: another was mounted over it, or over a directory on the way. Whoever opens that path meets the other, which
    may be of a server that is dead.
    """

    major: int
    minor: int
    mountpoint: str
    fstype: str
    source: str
    id: int = 0
    parent: int = 0
    hidden: bool = False

    @property
    def device(self) -> tuple[int, int]:
        return self.major, self.minor


def parse_mountinfo(text: str) -> list[Mount]:
    """All lines, in their order; one that makes no sense is left out."""
    return [
        Mount(
            int(major), int(minor), _unescape(mountpoint), _unescape(fstype), _unescape(source), int(id), int(parent)
        )
        for id, parent, major, minor, mountpoint, fstype, source in _LINE.findall(text)  # noqa: A001
    ]


def parse_mounts(text: str) -> list[tuple[str, str, str]]:
    """Source, mount point and type of each line of /proc/mounts, see fstab(5)."""
    lines = (line.split(" ") for line in text.split("\n"))
    return [(_unescape(f[0]), _unescape(f[1]), _unescape(f[2])) for f in lines if len(f) > 2]


def list_mounts(host: Host) -> list[Mount]:
    """The first mount of each block device, in the order of mounting. Raises CommandError.

    Of a device that is mounted more than once, the first that is not hidden.
    """
    mounts = all_mounts(host)
    tree = MountTree(mounts)
    found: dict[tuple[int, int], Mount] = {}
    for mount in mounts:
        if mount.major != _ANONYMOUS and (mount.device not in found or found[mount.device].hidden):
            hidden = mount.id != 0 and tree.at(mount.mountpoint) is not mount
            if not hidden or mount.device not in found:
                found[mount.device] = mount._replace(hidden=True) if hidden else mount
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


def without(mounts: Iterable[Mount], globs: Sequence[str]) -> list[Mount]:
    """Those that match none of the ``globs``: fnmatch(3).

    ``/dev/…`` is a device, another ``/…`` a mount point, what begins otherwise a type or a source that is no file.
    """

    def matches(mount: Mount, glob: str) -> bool:
        device, elsewhere = glob.startswith("/dev/"), glob.startswith("/")
        names = (mount.source,) if device else (mount.mountpoint,) if elsewhere else (mount.fstype, mount.source)
        return any(fnmatchcase(name, glob) for name in names)

    return [mount for mount in mounts if not any(matches(mount, glob) for glob in globs)]


class MountTree:
    """Which mount lies upon which: finds where a path leads without asking the filesystems on the way."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        """``mounts`` are all that this process sees."""
        known = {mount.id for mount in mounts}
        self._upon = {(mount.parent, mount.mountpoint): mount for mount in mounts if mount.parent != mount.id}
        self._root = next((m for m in mounts if m.parent == m.id or m.parent not in known), None)

    def at(self, path: str) -> Mount | None:
        """The mount that a file lies on; ``path`` is absolute and has no symbolic links."""
        current = self._root
        at = ""
        for name in path.rstrip("/").split("/"):
            at = f"{at.rstrip('/')}/{name}"
            # Where mounts change while the kernel lists them, an id can be there twice, and the way be a circle.
            for _ in self._upon:
                upper = current and self._upon.get((current.id, at))
                if upper is None:
                    break
                current = upper
        return current


@contextmanager
def opened(host: Host, mount: Mount) -> Iterator[int]:
    """A descriptor of the mount point, which lets itself be opened whatever it is. Raises OSError."""
    if mount.hidden:
        raise OSError(errno.ENOENT, "hidden by another mount")
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
    return mount._replace(major=major, minor=minor)


def _unescape(field: str) -> str:
    r"""``\040`` is a space; the kernel writes space, tab, newline and backslash so."""
    if "\\" not in field:
        return field
    return _ESCAPE.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1], 8)), field)
