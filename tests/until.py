"""Wait in a test for a condition itself, for a bounded time, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0  # seconds, far beyond what any step takes: this may be a busy machine

_PAUSE = 0.01  # seconds between two looks

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Return what ``look`` returns as soon as that is true. The test fails if it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: it is still {found!r}"
        time.sleep(_PAUSE)
    return found


def unchanged(look: Callable[[], object], seconds: float) -> None:
    """Return when ``look`` has returned the same for so long; the test fails if it goes on changing."""
    deadline = time.monotonic() + PATIENCE + seconds
    last, since = look(), time.monotonic()
    while time.monotonic() < since + seconds:
        assert time.monotonic() < deadline, f"it goes on changing: now it is {last!r}"
        time.sleep(_PAUSE)
        if (now := look()) != last:
            last, since = now, time.monotonic()
