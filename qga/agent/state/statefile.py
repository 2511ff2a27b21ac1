"""The files of the state directory, read with distrust: a crash, a full disk or an editor leaves anything there.

The rule it keeps: reading a file, with any content, ends at once, takes bounded memory, and gives either the content
or one DamagedError that says what is wrong. A damaged file is never thrown away: ``set_aside`` renames it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat

MAX_SIZE = 64 * 1024  # bytes; what an agent writes has some hundred
MAX_DIGITS = 18  # of a whole number: 64 bits hold every number of so many digits
MAX_ASIDE = 3  # damaged files kept beside the one in use: enough to see what happens again and again


class DamagedError(Exception):
    """A file is not as an agent writes it. The text follows the path: "is not a regular file"."""


def read(path: str, limit: int = MAX_SIZE) -> bytes | None:
    """Return a regular file's content, at most ``limit`` bytes, or None if there is none. Raises DamagedError."""
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
    """Return the JSON value, every number of which is finite and no longer than MAX_DIGITS. Raises DamagedError."""
    try:
        value: object = json.loads(content, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DamagedError(f"is not the JSON that an agent writes: {error}") from None
    return value


def set_aside(path: str) -> str:
    """Rename a damaged file, and return its new name. Raises OSError.

    The first MAX_ASIDE are kept, as ``PATH.damaged-1`` and so on; a later one takes the place of the last.
    """
    names = _names_aside(path)
    name = next((name for name in names if not os.path.lexists(name)), names[-1])
    os.rename(path, name)
    return name


def was_set_aside(path: str) -> bool:
    """Return whether damaged files of this name are kept: what they said is not known."""
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
