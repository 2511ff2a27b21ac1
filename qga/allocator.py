"""Gives back to the kernel the memory that large requests and replies have needed: glibc would keep it.

After it has freed a few of them it takes such blocks from its heap and trims that by tens of megabytes only:
malloc_trim(3), M_MMAP_THRESHOLD in mallopt(3).
"""

from __future__ import annotations

import contextlib


def release() -> None:
    """As much as there is. Nothing, where the C library is another."""
    import ctypes  # here: an agent that nobody sends large things to does without

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
