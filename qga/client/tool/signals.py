"""Signals while filesystems are frozen: remembered, and acted on later. An exception could hit the thaw."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def remembered() -> Iterator[list[int]]:
    """Gives the list of those that came."""
    came: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        came.append(number)

    old = {number: signal.signal(number, remember) for number in _HELD}
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
