"""A file on this machine that is copied to: it appears whole or not at all, and never through a guest's link.

Everything is done in a directory that is held open, by names without a slash, so that nothing which is renamed or
linked meanwhile leads elsewhere. The copy grows in a part beside its target, which nobody else reads. A part that
may be resumed is named after its source, size and time of change: another source begins another.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator

from qga.client.operations import kinds

PRIVATE = 0o600
LEFT_FOR = 86400.0  # seconds that a part is kept for who goes on with the copy
_NAME = re.compile(r"\..*\.[0-9a-f]{12}\.qga-part", re.DOTALL)


class Target:
    """``name`` in ``directory``, a descriptor. Its methods raise OSError."""

    def __init__(self, directory: int, name: str, path: str) -> None:
        self.directory, self._name = directory, name
        self.path = path  # for messages

    def mode(self) -> int | None:
        """Return st_mode of what is there; None for nothing, or a symbolic link, which is replaced like a file."""
        try:
            found = os.stat(self._name, dir_fd=self.directory, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None
        return None if stat.S_ISLNK(found) else found

    def check(self) -> None:
        """Raise OSError unless what is there can be replaced: a regular file, a link, or nothing."""
        mode = self.mode()
        if mode is not None and not stat.S_ISREG(mode):
            why = f"{kinds.name(mode)} is there: expected a regular file"
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, why, self.path)

    def part(self, key: str) -> Part:
        """Return the part beside the target that ``key`` names; nothing is made yet."""
        short = os.fsdecode(os.fsencode(self._name)[:200])
        return Part(self.directory, f".{short}.{key}.qga-part", self._name)

    def link(self, text: str) -> None:
        """Put a symbolic link with this text there."""
        self.check()
        part = self.part(key())
        os.symlink(text, part.name, dir_fd=self.directory)
        try:
            part.put()
        except OSError:
            part.remove()
            raise


class Part:
    """What there is of a copy until it is whole."""

    def __init__(self, directory: int, name: str, becomes: str) -> None:
        self.directory, self.name, self._becomes = directory, name, becomes

    def open(self) -> int:
        """Return a descriptor for reading and writing; a part that is not ours alone is removed. Raises OSError."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.name, flags, dir_fd=self.directory)
            if _is_ours(os.fstat(descriptor)):
                return descriptor
            os.close(descriptor)
        except FileNotFoundError:
            pass
        except OSError:  # ELOOP, EACCES: whatever it is, it is not a part of ours
            self.remove()
        else:
            self.remove()
        return os.open(self.name, flags | os.O_CREAT | os.O_EXCL, PRIVATE, dir_fd=self.directory)

    def put(self) -> None:
        """Replace what is there under the final name."""
        os.replace(self.name, self._becomes, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    def remove(self) -> None:
        """Remove the part, if it is there. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.directory)


@contextlib.contextmanager
def target(path: str, directory: int | None = None) -> Iterator[Target]:
    """Open the directory of a target, and give the target in it.

    With a ``directory``, a descriptor, ``path`` is a name in it, and a link there is not followed. Without, the path
    is its user's own choice, and its links are followed.
    """
    if directory is not None:
        if not path or path in (".", "..") or "/" in path:
            raise OSError(errno.EINVAL, "expected the name of a file in the directory", path)
        yield Target(directory, path, path)
        return
    if kinds.is_descriptor(path):
        raise OSError(f"{path} is an open file of a process: expected a regular file")
    where, name = os.path.split(os.path.realpath(path))
    opened = os.open(where, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Target(opened, name, path)
    finally:
        os.close(opened)


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Have an OSError within name this path: it knows only a name in some directory, or a descriptor."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def tidy_beside(path: str) -> None:
    """Tidy the directory of this path."""
    with contextlib.suppress(OSError), target(path) as place:
        tidy(place.directory)


def tidy(directory: int) -> None:
    """Remove what killed copies left in a directory, if none has been continued for a day.

    By the time of the inode's change: the time of the file's is that of its source, in the end.
    """
    stale = time.time() - LEFT_FOR
    with contextlib.suppress(OSError):  # what may not be listed or removed stays
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if _NAME.fullmatch(entry.name):
                        found = entry.stat(follow_symlinks=False)
                        if _is_ours(found) and found.st_ctime < stale:
                            os.unlink(entry.name, dir_fd=here)
        finally:
            os.close(here)


def key(*identity: object) -> str:
    """Return the part of a name that stands for a source; another each time without an identity."""
    if not identity:
        return secrets.token_hex(6)
    return hashlib.sha256(repr(identity).encode(errors="surrogateescape")).hexdigest()[:12]


def usual_mode() -> int:
    """Return the mode of a new file: 0666 without this process's umask, which proc(5) has; 0600 where it does not.

    umask(2) itself returns the mask only to who changes it, and that would be for all threads of the process.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            mask = next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return PRIVATE
    return 0o666 & ~mask


def _is_ours(found: os.stat_result) -> bool:
    private = stat.S_IMODE(found.st_mode) == PRIVATE
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1 and private
