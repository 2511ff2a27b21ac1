"""Files in the state directory, read with distrust: a crash, a full disk or an editor may leave anything there.

The rule it keeps: reading a file never blocks, uses bounded memory, and either returns the content or raises one
DamagedError that says what is wrong. A damaged file is never deleted: ``set_aside`` renames it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat

MAX_SIZE = 64 * 1024  # bytes; files that an agent writes have a few hundred
MAX_DIGITS = 18  # of a whole number: every number with so many digits fits into 64 bits
MAX_ASIDE = 3  # damaged files kept beside the one in use: enough to see a recurring fault


class DamagedError(Exception):
    """A file is not what an agent writes. The text is to follow the path: "is not a regular file"."""


def read(path: str, limit: int = MAX_SIZE) -> bytes | None:
    """Return a regular file's content, at most ``limit`` bytes, or None if it does not exist. Raises DamagedError."""
    try:
        # Without O_NONBLOCK a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedError("is a symbolic link, expected a regular file") from None
        raise DamagedError(f"cannot be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DamagedError("is not a regular file")
        content = b""
        while piece := os.read(descriptor, limit + 1 - len(content)):
            content += piece
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise DamagedError(f"has more than {limit} bytes")
    return content


def parse_json(content: bytes) -> object:
    """Return the JSON value; its numbers are finite and have at most MAX_DIGITS digits. Raises DamagedError."""
    try:
        value: object = json.loads(content, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DamagedError(f"is not the JSON that an agent writes: {error}") from None
    return value


def set_aside(path: str) -> str:
    """Rename a damaged file, and return its new name. Raises OSError.

    The first MAX_ASIDE files are kept as ``PATH.damaged-1`` and so on; a later one replaces the last of them.
    """
    names = _names_aside(path)
    name = next((name for name in names if not os.path.lexists(name)), names[-1])
    os.rename(path, name)
    return name


def was_set_aside(path: str) -> bool:
    """Return whether a damaged file of this name was set aside, so that its content was lost."""
    return any(map(os.path.lexists, _names_aside(path)))


def _names_aside(path: str) -> list[str]:
    return [f"{path}.damaged-{number}" for number in range(1, MAX_ASIDE + 1)]


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _bounded(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError("a number is too large")
    return int(text)
