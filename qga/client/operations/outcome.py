"""What came of a copy, and what both directions count, hash and note on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

Progress = Callable[[int, int], None]  # bytes that are there, bytes of the whole

_UNVERIFIED = "not verified: the guest runs neither b2sum nor sha256sum"
_UNKEPT = "mode and times were not kept: the guest runs no program that tells or sets them"


@dataclass(slots=True)
class Outcome:
    """``size`` bytes in ``seconds``; the first ``resumed`` of them were there from an earlier try.

    ``verified``: the other side's hash is ours. ``atomic``: the target was at no time half a file. ``notes``: what
    could not be had, a sentence each.
    """

    size: int = 0
    seconds: float = 0.0
    resumed: int = 0
    verified: bool = False
    atomic: bool = False
    notes: list[str] = field(default_factory=list)

    def note_missing(self, *, unverified: bool = False, unkept: bool = False) -> None:
        """Note that the hash was not compared, or that mode and times were not kept."""
        if unverified:
            self.notes.append(_UNVERIFIED)
        if unkept:
            self.notes.append(_UNKEPT)


class Count:
    """Count the bytes of a copy as they come: ``done``, of ``whole``.

    ``progress`` is called with both; what is written goes into ``digest``, and into ``file`` if there is one.
    """

    def __init__(self, done: int, whole: int, progress: Progress | None, digest: Any, file: Any = None) -> None:
        self.done, self._whole = done, whole
        self._progress, self._digest, self._file = progress, digest, file

    def write(self, data: bytes) -> None:
        """Write to the file, all of it; hash and count it."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.hash(data)
        self.add(len(data))

    def hash(self, data: bytes) -> None:
        """Take bytes into the digest, if there is one."""
        if self._digest is not None:
            self._digest.update(data)

    def hash_start(self, file: BinaryIO) -> None:
        """Hash what an earlier try has copied; leave the file behind it."""
        file.seek(0)
        left = self.done
        while left and (data := file.read(min(left, 1 << 20))):
            self.hash(data)
            left -= len(data)

    def add(self, count: int) -> None:
        """Count bytes as done, and call ``progress``."""
        self.done += count
        if self._progress:
            self._progress(self.done, max(self.done, self._whole))
