"""How memory is taken and given back, where Python and glibc have a rule that does not suit an agent.

glibc would keep what large requests and replies have needed: after it has freed a few of them it takes such blocks
from its heap and trims that by tens of megabytes only: malloc_trim(3), M_MMAP_THRESHOLD in mallopt(3).

Python looks for cycles whenever there are 700 containers more than before. A request may have a million of them, each
in use, and each would be looked at again and again while it is decoded.
"""

from __future__ import annotations

import contextlib
import gc

_NEW_CONTAINERS = 10_000  # more than any request has but those of a hostile host, and some hundred kilobytes


def collect_rarely() -> None:
    """Look for cycles after as many new containers as only a very large request has."""
    gc.set_threshold(_NEW_CONTAINERS, *gc.get_threshold()[1:])


def release() -> None:
    """As much as there is, cycles too. To the kernel nothing, where the C library is another."""
    import ctypes  # here: an agent that nobody sends large things to does without

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
