"""I/O statistics of the disks: /proc/diskstats, Documentation/admin-guide/iostats.rst."""

from __future__ import annotations

import re
from typing import NamedTuple

_SINCE_2_6 = (
    "read-ios",
    "read-merges",
    "read-sectors",
    "read-ticks",
    "write-ios",
    "write-merges",
    "write-sectors",
    "write-ticks",
    "ios-pgr",
    "total-ticks",
    "weight-ticks",
)
_SINCE_4_18 = ("discard-ios", "discard-merges", "discard-sectors", "discard-ticks")
_SINCE_5_5 = ("flush-ios", "flush-ticks")
_OF_AN_OLD_PARTITION = ("read-ios", "read-sectors", "write-ios", "write-sectors")

# How many numbers a line has, and what they are.
_LAYOUTS = (
    (17, _SINCE_2_6 + _SINCE_4_18 + _SINCE_5_5),
    (15, _SINCE_2_6 + _SINCE_4_18),
    (11, _SINCE_2_6),
    (4, _OF_AN_OLD_PARTITION),
)

_NUMBERS = re.compile("[0-9]{1,20}(?: [0-9]{1,20})*")


class DiskStats(NamedTuple):
    """The counters of a disk. ``stats``: sectors of 512 bytes, ticks of a millisecond, by QEMU's names."""

    major: int
    minor: int
    name: str
    stats: dict[str, int]


def parse_diskstats(text: str) -> list[DiskStats]:
    """Return the disks in the order of the lines, without those that make no sense."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 7:
            continue
        major, minor, name, *rest = fields
        names = next(names for least, names in _LAYOUTS if len(rest) >= least)
        if _NUMBERS.fullmatch(" ".join((major, minor, *rest))):
            stats = {key: int(value) for key, value in zip(names, rest)}
            found.append(DiskStats(int(major), int(minor), name, stats))
    return found
