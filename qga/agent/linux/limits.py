"""How much the kernel takes of a path and of a program's arguments, for whoever looks at them before it does.

The rule it keeps: what is longer than that fails as the kernel would have it fail, before any work is done that grows
with it. A path without end would be walked for minutes, and the name of a program is put behind every part of PATH.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from qga.protocol.tokens import c_string

PATH_MAX = 4096  # bytes, with the NUL at the end: path_resolution(7)
MAX_ARG_STRLEN = 128 * 1024  # bytes of one argument or of one entry of the environment, with its NUL: execve(2)

_MOST = 4  # bytes of a character, as UTF-8 or as c_string spells NUL


def check_path(path: str) -> None:
    """Raises OSError, ENAMETOOLONG."""
    if _size(path, PATH_MAX) > PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def check_program(path: str, arg: Iterable[str] | None, env: Iterable[str] | None) -> None:
    """What execve(2) is to be given. Raises OSError: ENAMETOOLONG for the path, E2BIG for the rest."""
    check_path(path)
    for text in (*(arg or ()), *(env or ())):
        if _size(text, MAX_ARG_STRLEN) > MAX_ARG_STRLEN:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))


def _size(text: str, limit: int) -> int:
    """In bytes with the NUL at the end; for one that is short, or much too long, at least roughly."""
    size = len(text) + 1
    return len(c_string(text)) + 1 if size <= limit < size * _MOST else size
