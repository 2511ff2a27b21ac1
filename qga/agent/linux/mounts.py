r"""The mounted filesystems that lie on a block device: what can be frozen, trimmed and listed.

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

from qga.agent.linux.host import Host
from qga.protocol.errors import CommandError

_MOUNTINFO = "/proc/self/mountinfo"
_MOUNTS = "/proc/self/mounts"
_ANONYMOUS = 0  # major number of what has no block device (proc, tmpfs, NFS, overlay) or may have several (btrfs)

# id, parent, major:minor, root, mount point, options and optional fields, type, source, options of the filesystem
_LINE = re.compile(
    r"^([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,10}):([0-9]{1,10}) ([^ \n]+) ([^ \n]+)(?: [^ \n]*)*?"
    r" - ([^ \n]*) ([^ \n]*)(?: ([^ \n]*))?",
    re.MULTILINE,
)
_ESCAPE = re.compile(r"\\(?!000)([0-7]{3}|\\)")  # no path has a NUL


class Mount(NamedTuple):
    """A mount. ``major`` and ``minor`` name the device; ``source`` is what was mounted, mostly its file in /dev.

    ``parent`` is the ``id`` of the mount that it lies upon. One that is ``hidden`` cannot be reached by its mount
    point: another was mounted over it, or over a directory on the way. To open that path is to open the other, which
    may be of a server that is dead. ``root`` is which directory of the filesystem is mounted there, ``options`` are
    the filesystem's own. ``others`` are the mounts of the same device: bind mounts, subvolumes.
    """

    major: int
    minor: int
    mountpoint: str
    fstype: str
    source: str
    id: int = 0
    parent: int = 0
    hidden: bool = False
    root: str = "/"
    options: str = ""
    others: tuple[Mount, ...] = ()

    @property
    def device(self) -> tuple[int, int]:
        """The major and minor number of its device."""
        return self.major, self.minor

    @property
    def whole(self) -> bool:
        """Whether all of a filesystem is mounted there, or a subvolume, and not just one of its directories."""
        return self.root == "/" or self.fstype == "btrfs"


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts of all lines, in their order, without those that make no sense."""
    return [
        Mount(
            int(major),
            int(minor),
            unescape(mountpoint),
            unescape(fstype),
            unescape(source),
            int(id),
            int(parent),
            root=unescape(root),
            options=options,
        )
        for id, parent, major, minor, root, mountpoint, fstype, source, options in _LINE.findall(text)  # noqa: A001
    ]


def parse_mounts(text: str) -> list[tuple[str, str, str]]:
    """Return source, mount point and type of each line of /proc/mounts, see fstab(5)."""
    lines = (line.split(" ") for line in text.split("\n"))
    return [(unescape(f[0]), unescape(f[1]), unescape(f[2])) for f in lines if len(f) > 2]


def list_mounts(host: Host) -> list[Mount]:
    """Return the first mount of each block device, in the order of mounting. Raises CommandError.

    Of a device that is mounted more than once, the first that is not hidden; the rest are its ``others``.
    """
    mounts = all_mounts(host)
    tree = MountTree(mounts)
    found: dict[tuple[int, int], list[Mount]] = {}
    for mount in mounts:
        if mount.major != _ANONYMOUS:
            hidden = mount.id != 0 and tree.at(mount.mountpoint) is not mount
            found.setdefault(mount.device, []).append(mount._replace(hidden=True) if hidden else mount)
    return [_first(same) for same in found.values()]


def _first(same: list[Mount]) -> Mount:
    first = next((mount for mount in same if not mount.hidden), same[0])
    return first._replace(others=tuple(mount for mount in same if mount is not first)) if len(same) > 1 else first


def all_mounts(host: Host) -> list[Mount]:
    """Return every mount that this process sees, in the order of mounting. Raises CommandError.

    A btrfs has the number of the device that it was mounted from; what lies on no device has the major number 0.
    """
    try:
        return [_with_device(host, mount) for mount in parse_mountinfo(host.read(_MOUNTINFO))]
    except OSError:
        pass  # a kernel before 2.6.26, or a hardened one
    try:
        lines = parse_mounts(host.read(_MOUNTS))
    except OSError as error:
        raise CommandError(f"failed to open mtab file: '{_MOUNTS}'") from error
    return [
        Mount(*(host.block_device(source) or (_ANONYMOUS, 0)), mountpoint, fstype, source)
        for source, mountpoint, fstype in lines
    ]


def named(mounts: Iterable[Mount], paths: Iterable[str]) -> list[Mount]:
    """Return the filesystems that are mounted at one of ``paths``, by any of their mounts; ``//x/.`` is ``/x``."""
    wanted = {_plain(path) for path in paths}
    return [
        mount
        for mount in mounts
        if any(one.mountpoint in wanted and not one.hidden for one in (mount, *mount.others))
    ]


def without(mounts: Iterable[Mount], globs: Sequence[str]) -> list[Mount]:
    """Return the filesystems that match none of the ``globs``: fnmatch(3).

    ``/dev/…`` is a device, another ``/…`` a mount point, what begins otherwise a type or a source that is not a file.
    Any of a filesystem's mounts counts. One of just a directory of it has to be named in full: ``/containers/*``
    is not about the filesystem of ``/``, a part of which is bound there.
    """

    def matches(mount: Mount, glob: str) -> bool:
        same = (mount, *mount.others)
        if glob.startswith("/dev/"):
            return any(fnmatchcase(one.source, glob) for one in same)
        if not glob.startswith("/"):
            return any(fnmatchcase(name, glob) for name in (mount.fstype, mount.source))
        path = _plain(glob)
        return fnmatchcase(mount.mountpoint, path) or any(
            fnmatchcase(one.mountpoint, path) if one.whole else one.mountpoint == path for one in mount.others
        )

    return [mount for mount in mounts if not any(matches(mount, glob) for glob in globs)]


def _plain(path: str) -> str:
    """Return a path without what means nothing in it; a name that is not absolute is not a mount point."""
    return "/" + "/".join(name for name in path.split("/") if name not in ("", ".")) if path[:1] == "/" else path


class MountTree:
    """Which mount lies upon which: finds where a path leads without a call to the filesystems in between."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        """Take all mounts that this process sees."""
        known = {mount.id for mount in mounts}
        self._upon = {(mount.parent, mount.mountpoint): mount for mount in mounts if mount.parent != mount.id}
        self._root = next((m for m in mounts if m.parent == m.id or m.parent not in known), None)

    def at(self, path: str) -> Mount | None:
        """Return the mount that a file lies on; ``path`` is absolute and has no symbolic links."""
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


class GoneError(OSError):
    """A mount has gone since the mounts were listed, or another mount hides it."""


@contextmanager
def opened(host: Host, mount: Mount, flags: int = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) -> Iterator[int]:
    """Give a descriptor of the mount point. Raises OSError.

    It lies on that mount, and never on what is below one that has gone: that is a GoneError.
    """
    if mount.hidden:
        raise GoneError(errno.ENOENT, "hidden by another mount")
    try:
        descriptor = os.open(host.path(mount.mountpoint), flags | os.O_CLOEXEC)
    except OSError as error:
        if not _is_mounted(host, mount):
            raise GoneError(errno.ENOENT, "unmounted meanwhile") from error
        raise
    try:
        if not _lies_on(host, descriptor, mount):
            raise GoneError(errno.ENOENT, "unmounted meanwhile")
        yield descriptor
    finally:
        os.close(descriptor)


def _is_mounted(host: Host, mount: Mount) -> bool:
    """Return whether a mount is still in the list, or may be."""
    try:
        mounts = all_mounts(host)
    except CommandError:
        return True
    return any((one.id, one.device, one.mountpoint) == (mount.id, mount.device, mount.mountpoint) for one in mounts)


def _lies_on(host: Host, descriptor: int, mount: Mount) -> bool:
    """Return whether an open file lies on a mount: by id, which the kernel soon uses again, and by device number.

    A subvolume of a btrfs has a number of its own.
    """
    at = host.mounted_at(descriptor)
    if mount.id == 0 or at is None:
        return True
    device = (_ANONYMOUS, at[1][1]) if mount.fstype == "btrfs" else mount.device
    return at == (mount.id, device)


def _with_device(host: Host, mount: Mount) -> Mount:
    if mount.major != _ANONYMOUS or mount.fstype != "btrfs":
        return mount
    major, minor = host.block_device(mount.source) or mount.device
    return mount._replace(major=major, minor=minor)


def unescape(field: str) -> str:
    r"""Return a field with its escapes resolved: space, tab, newline and backslash, such as ``\040`` for a space."""
    if "\\" not in field:
        return field
    return _ESCAPE.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1], 8)), field)
