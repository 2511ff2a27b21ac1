"""C strings: the kernel takes paths and program arguments as NUL-terminated strings of limited length.

The rule it keeps: a longer string fails with the kernel's own error, before any work is done that grows with it. An
endless path would be walked for minutes, and a program's name is appended to every part of PATH.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

PATH_MAX = 4096  # bytes, with the NUL at the end: path_resolution(7)
MAX_ARG_STRLEN = 128 * 1024  # bytes of one argument or of one entry of the environment, with its NUL: execve(2)

_MOST = 4  # bytes of a character, as UTF-8 or as c_string spells NUL


def c_string(text: str) -> bytes:
    """Return the bytes of a text, without the NUL at the end.

    NUL within cannot be a part of a string of C, and becomes the two bytes that modified UTF-8 has for it.
    """
    return text.encode(errors="surrogateescape").replace(b"\0", b"\xc0\x80")


def check_path(path: str) -> None:
    """Raise OSError, ENAMETOOLONG, for a path that is longer than the kernel takes."""
    if _size(path, PATH_MAX) > PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def check_program(path: str, arg: Iterable[str] | None, env: Iterable[str] | None) -> None:
    """Raise OSError for what execve(2) refuses: ENAMETOOLONG for the path, E2BIG for arguments and environment."""
    check_path(path)
    for text in (*(arg or ()), *(env or ())):
        if _size(text, MAX_ARG_STRLEN) > MAX_ARG_STRLEN:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))


def _size(text: str, limit: int) -> int:
    """Return the size in bytes with the NUL at the end; roughly, where the text is far below or above the limit."""
    size = len(text) + 1
    return len(c_string(text)) + 1 if size <= limit < size * _MOST else size
