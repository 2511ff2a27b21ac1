"""The kinds of files: a copy takes regular files and, on request, block devices, and nothing else."""

from __future__ import annotations

import os
import stat

_NAMES = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
_PERMISSIONS = 0o777
_LINKS = 40  # followed one after the other, as the kernel: path_resolution(7)


def name(mode: int) -> str:
    """Return the kind of a file by its st_mode of stat(2), which may be anything where a guest says it."""
    return _NAMES.get(stat.S_IFMT(mode), "a file of an unknown kind")


def refusal(path: str, mode: int, *, device: bool = False) -> str | None:
    """Return why a file cannot be copied from or to, in one sentence. ``device``: whether a block device can."""
    if stat.S_ISREG(mode) or (device and stat.S_ISBLK(mode)):
        return None
    return f"{path} is {name(mode)}: expected a regular file{' or a block device' if device else ''}"


def permissions(mode: int, keep_setuid: bool) -> int:
    """Return what a copy keeps of a mode: the setuid, setgid and sticky bits only on request.

    A directory that others may write to keeps its sticky bit: without it they may remove what is not theirs.
    """
    if keep_setuid:
        return stat.S_IMODE(mode)
    return mode & (_PERMISSIONS | (stat.S_ISVTX if stat.S_ISDIR(mode) and mode & 0o022 else 0))


def is_descriptor(path: str) -> bool:
    """Return whether a path leads through a link of proc(5) to an open file, as /dev/stdout does."""
    try:
        proc = os.stat("/proc").st_dev
        for _ in range(_LINKS):
            found = os.lstat(path)
            if not stat.S_ISLNK(found.st_mode):
                return False
            if found.st_dev == proc:
                return True
            path = os.path.join(os.path.dirname(path), os.readlink(path))
    except OSError:
        pass
    return False
