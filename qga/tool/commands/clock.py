"""time: the guest's clock."""

from __future__ import annotations

import argparse
import re
import time as clock

from qga.client.client import Client
from qga.tool import output
from qga.tool.exits import UsageError

_SECONDS = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?", re.ASCII)
_MAX_SECONDS = (2**63 - 1) // 10**9 - 1  # the agent takes nanoseconds in 64 bits, until 2262


def time(client: Client, options: argparse.Namespace) -> None:
    """Show the guest's clock, set it, or with ``sync`` have the guest set it from its hardware clock."""
    if options.what == "set" and options.when is None:
        raise UsageError("time set: expected WHEN, seconds since 1970 or now for this machine's time")
    if options.what != "set" and options.when is not None:
        raise UsageError(f"time {options.what}: expected no WHEN, got {options.when!r}; qga time set takes one")
    if options.what == "sync":
        return client.guest_set_time()
    if options.what == "set":
        return client.guest_set_time(clock.time_ns() if options.when == "now" else _nanoseconds(options.when))
    now = client.guest_get_time()
    ahead = now / 10**9 - clock.time()
    if options.json:
        return output.json({"nanoseconds": now, "ahead": ahead})
    utc = clock.strftime("%Y-%m-%d %H:%M:%S", clock.gmtime(now // 10**9))
    return output.line(f"{utc} UTC, {abs(ahead):.3f} s {'ahead of' if ahead > 0 else 'behind'} this machine")


def _nanoseconds(text: str) -> int:
    """Return nanoseconds since 1970, from seconds with a fraction or without, as ``date +%s.%N`` writes them."""
    match = _SECONDS.fullmatch(text)
    if match is None or int(match[1]) > _MAX_SECONDS:
        raise UsageError(f"WHEN {text!r}: expected seconds since 1970, at most {_MAX_SECONDS}, or now")
    return int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))
