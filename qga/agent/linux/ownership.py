"""Whether root alone decides what a path leads to: for what is run, or read as the owner's will.

The rule it keeps: the path is walked as the kernel does, path_resolution(7), and every directory in which a name is
looked up, every link that is followed and the file at the end must be root's, or the agent's own user's, and not
writable by others. Each is looked at before the next, so no other user can change one that was passed: what was
checked is what the path leads to afterwards. So a hook can be run by its path, and is: a script that is run by a
descriptor, as /proc/self/fd/3, does not know its own name, by which QEMU's stock hook finds fsfreeze-hook.d.
"""

from __future__ import annotations

import errno
import os
import stat

from qga.agent.linux.host import Host

MAX_LINKS = 40  # as the kernel

_OTHERS = stat.S_IWGRP | stat.S_IWOTH  # an ACL that lets another user write shows as the group's


def not_only_roots(host: Host, path: str) -> str | None:
    """Return how users other than root can change a file or put another in its place; None if they cannot.

    A file that does not exist is root's if others cannot create it.
    """
    try:
        return _walk(os.path.join(os.getcwd(), host.path(path)))
    except OSError as error:
        return f"{path}: {error.strerror}"


def _walk(path: str) -> str | None:
    """Walk an absolute path; returns why a step is not root's alone, or None. Raises OSError if it leads nowhere."""
    at = "/"  # a directory that was passed, without links
    refusal = _refusal(at, os.lstat(at))
    ahead = path.split("/")[::-1]
    links = 0
    while ahead and refusal is None:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        shared = os.lstat(at).st_mode & _OTHERS
        at, parent = os.path.join(at, name), at
        try:
            status = os.lstat(at)
        except FileNotFoundError:
            return f"users other than root may make {at}" if shared else None
        refusal = _refusal(at, status)
        if shared and refusal is None and not stat.S_ISDIR(status.st_mode):
            refusal = f"users other than root may put a file into {parent}, where {at} is"
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            where = os.readlink(at)
            ahead += where.split("/")[::-1]
            at = "/" if where.startswith("/") else parent
    return refusal


def _refusal(path: str, status: os.stat_result) -> str | None:
    """Return why this file or directory is not root's alone, or None.

    A sticky directory of root's passes: others cannot rename or remove what is root's in it, unlink(2). But where
    protected_hardlinks is off, proc_sys_fs(5), every user can make a link to any file there, under a chosen name. So
    only a directory in it can be root's: directories have no hard links.
    """
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to user {status.st_uid}, expected root"
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & _OTHERS:
        return None
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None
    return f"users other than root may write to {path} (mode {stat.S_IMODE(status.st_mode):04o})"
