"""Sizes, durations and numbers, as people write and read them."""

from __future__ import annotations

import argparse
import re
from typing import NamedTuple

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 10 * 365 * 86400.0
_NUMBER = re.compile(r"([+-]?)([0-9]{1,4000})", re.ASCII)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", re.ASCII)


def duration(text: str) -> float:
    """Seconds of ``90``, ``500ms``, ``2m`` or ``1h``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: expected such as 30, 500ms, 2m or 1h")
    seconds = float(match[1]) * _SECONDS[match[2] or ""]
    if seconds > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is too long: expected at most ten years")
    return seconds


class Lines(NamedTuple):
    """The last ``number`` lines of a file; ``from_start``: all from that line on."""

    number: int
    from_start: bool = False


def lines(text: str) -> Lines:
    """As tail(1): 10 and -10 are the last ten, +3 is all from the third line on."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines: expected such as 10, or +3")
    return Lines(int(match[2]), match[1] == "+")


def positive(text: str) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None or match[1] or not int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, at least 1")
    return int(match[2])


def size(count: float) -> str:
    """``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def span(seconds: float) -> str:
    """``3d 4h 5m``, ``2m 3s``."""
    rest, parts = int(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:3]) or "0s"
