"""The search for the file of a program, as by execvp(3), with the environment that the program will have."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qga.agent.linux.cstring import c_string

if TYPE_CHECKING:
    from qga.agent.linux.pathwalk import Target


def environment(entries: Sequence[str] | None) -> Mapping[bytes, bytes]:
    """Return the variables as getenv(3) finds them: the first of each name. None stands for the agent's own.

    An entry without a name or without ``=`` is left out.
    """
    if entries is None:
        return os.environb
    found: dict[bytes, bytes] = {}
    for entry in entries:
        name, separator, value = c_string(entry).partition(b"=")
        if name and separator:
            found.setdefault(name, value)
    return found


def candidates(program: bytes, env: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the files that may be the program, in the order to try them. Raises OSError where none can be."""
    names = _names(program, env)
    found: dict[tuple[int, int], bytes] = {}  # by device and inode: a file that PATH leads to twice is tried once
    refusal = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for name in names:
        try:
            status = os.stat(name)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) or len(names) == 1:
                refusal = error
            continue
        if stat.S_ISREG(status.st_mode) and os.access(name, os.X_OK):
            found.setdefault((status.st_dev, status.st_ino), name)
        else:
            refusal = OSError(errno.EACCES, os.strerror(errno.EACCES))
    if not found:
        raise refusal
    return [*found.values()]


def resolve_program(program: bytes, env: Mapping[bytes, bytes]) -> Target:
    """Return the first of the candidates, held by a descriptor. Never raises OSError: the target has it."""
    from qga.agent.linux.pathwalk import Target, resolve  # here: only rules about programs need it

    names = _names(program, env)
    for name in names:
        target = resolve(name)
        if target.error is None and target.executable:
            return target
        if len(names) == 1:
            target.error = target.error or OSError(errno.EACCES, os.strerror(errno.EACCES))
            return target
        target.close()
    return Target(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))


def _names(program: bytes, env: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the paths to look at: for a name without a slash, one in each part of PATH, of ``env`` or ours."""
    if b"/" in program or not program:
        return [program]
    path = env.get(b"PATH", os.environb.get(b"PATH", os.defpath.encode()))
    return [os.path.join(part or b".", program) for part in dict.fromkeys(path.split(b":"))]
