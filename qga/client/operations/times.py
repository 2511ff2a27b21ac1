"""Times of files: programs write seconds since 1970 with a fraction, Python takes nanoseconds."""

from __future__ import annotations

_BILLION = 10**9
_SECONDS = range(-(1 << 63), 1 << 63)  # time_t; a filesystem may clamp what it cannot keep


def nanoseconds(text: bytes) -> int:
    """Parse a time as stat(1) writes it: ``-12.25`` is twelve and a quarter seconds before 1970."""
    sign = -1 if text.startswith(b"-") else 1
    whole, _, rest = text.lstrip(b"-").partition(b".")
    return sign * (int(whole) * _BILLION + int(rest.ljust(9, b"0")[:9]))


def nanoseconds_of_find(text: bytes) -> int:
    """Parse a time as ``%T@`` of find(1) writes it: the fraction counts forward, -13.75 is stat's -12.25."""
    whole, _, rest = text.partition(b".")
    return int(whole) * _BILLION + int(rest.ljust(9, b"0")[:9])


def seconds(ns: int) -> str:
    """Return nanoseconds as touch(1) takes them behind an @."""
    whole, rest = divmod(abs(ns), _BILLION)
    return f"{'-' if ns < 0 else ''}{whole}.{rest:09d}"


def fit(*ns: int) -> bool:
    """Return whether utimensat(2) takes these times."""
    return all(one // _BILLION in _SECONDS for one in ns)
