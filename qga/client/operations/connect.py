"""Reach an agent that may not be there yet, as that of a guest which boots."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from qga.client.errors import AgentTimeout, AgentUnreachable
from qga.client.operations.requests import Connected, Pause

SYNC_TIMEOUT = 5.0  # seconds that an agent has to answer the first word, as libvirt
RETRY = 0.5  # seconds between two tries

Progress: TypeAlias = Callable[[float, Exception], None]


async def connect(wait: float, progress: Progress | None) -> None:
    """Try until an agent has answered, for ``wait`` seconds.

    ``progress`` is called with the seconds passed and what was wrong, after each try that failed.
    """
    start = time.monotonic()
    while True:
        try:
            await Connected(max(0.1, min(SYNC_TIMEOUT, start + wait - time.monotonic())) if wait else SYNC_TIMEOUT)
            return
        except (AgentUnreachable, AgentTimeout) as error:
            passed = time.monotonic() - start
            if passed >= wait:
                raise
            if progress:
                progress(passed, error)
            await Pause(min(RETRY, max(0.0, wait - passed)))
