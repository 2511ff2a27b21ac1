"""Numbers in texts that the kernel, udev, logind or the owner has written: none of them needs more than 64 bits."""

from __future__ import annotations

import re

_NUMBER = re.compile("-?[0-9a-fA-F]{1,20}")


def number(digits: str, base: int = 10) -> int:
    """Return the value of ASCII digits, with or without a minus sign, that fits into 64 bits.

    Raises ValueError for anything else. ``int`` alone takes spaces, underscores and the digits of every script, and
    for more than 4,300 digits it raises where that is not expected.
    """
    if _NUMBER.fullmatch(digits) and -(1 << 63) <= (value := int(digits, base)) < 1 << 64:
        return value
    raise ValueError(f"not a number of 64 bits: {digits[:40]!r}")
