"""Signals: exceptions while the tool works, so that it can clean up in the guest; remembered while it is frozen."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from qga.tool.exits import Terminated

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def raised() -> Iterator[None]:
    """Have SIGINT and SIGTERM raise KeyboardInterrupt and Terminated. Outside of it they end the process."""
    old = {signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate)}
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        old[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def remembered() -> Iterator[list[int]]:
    """Give a list of the signals that come meanwhile: an exception could hit the thaw."""
    received: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        received.append(number)

    old = {number: signal.signal(number, remember) for number in _HELD}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _terminate(number: int, _: FrameType | None) -> None:
    raise Terminated
