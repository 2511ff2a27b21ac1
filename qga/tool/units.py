"""Sizes, durations and numbers, as people write and read them."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from qga.client.replies import LoadAverage

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_SECONDS = 10 * 365 * 86400.0
_NUMBER = re.compile(r"([+-]?)([0-9]{1,4000})", re.ASCII)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", re.ASCII)


def duration(text: str) -> float:
    """Return the seconds of ``90``, ``500ms``, ``2m`` or ``1h``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration: expected a number of seconds, or such as 500ms, 30s, 2m or 1h"
        )
    seconds = float(match[1]) * _SECONDS[match[2] or ""]
    if seconds > _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"duration {text[:40]!r} is too long: expected at most ten years")
    return seconds


class Lines(NamedTuple):
    """The last ``number`` lines of a file; ``from_start``: all from that line on."""

    number: int
    from_start: bool = False


def lines(text: str) -> Lines:
    """Return what tail(1) would make of it: 10 and -10 are the last ten, +3 is all from the third line on."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines: expected such as 10, or +3")
    return Lines(int(match[2]), match[1] == "+")


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    match = _NUMBER.fullmatch(text)
    if match is None or match[1] or not int(match[2]):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a count: expected a whole number, at least 1")
    return int(match[2])


def size(count: float) -> str:
    """Return a number of bytes as ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def span(seconds: float) -> str:
    """Return a number of seconds as ``3d 4h 5m`` or ``2m 3s``."""
    rest, parts = int(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:3]) or "0s"


def load(averages: LoadAverage) -> str:
    """Return the averages over 1, 5 and 15 minutes as uptime(1) prints them."""
    return f"{averages.load1m:.2f} {averages.load5m:.2f} {averages.load15m:.2f}"
