"""The guest's system clock and its hardware clock."""

from __future__ import annotations

import logging

from qga.agent.context import Context
from qga.protocol.errors import CommandError

log = logging.getLogger(__name__)

HWCLOCK = "/sbin/hwclock"  # hwclock(8): where QEMU's agent expects it


def guest_get_time(ctx: Context) -> int:
    """Return the nanoseconds since 1970, rounded down to microseconds as in QEMU's agent: clock_gettime(2)."""
    return ctx.host.clock() // 1000 * 1000


async def guest_set_time(ctx: Context, *, time: int | None = None) -> None:
    """Set the clock, and the hardware clock from it; without ``time``, set the clock from the hardware clock.

    A worker runs hwclock(8), which waits for the next full second. Source: clock_settime(2), hwclock(8).
    """
    await ctx.workers(lambda: _set_time(ctx, time))


def _set_time(ctx: Context, time: int | None) -> None:
    hwclock = ctx.host.which("hwclock") or HWCLOCK
    if time is None:
        ctx.host.run((hwclock, "-s")).require(hwclock, "set hardware clock to system time")
        return
    if time < 0:
        raise CommandError("Invalid time")
    try:
        ctx.host.set_clock(time)
    except OverflowError as error:
        raise CommandError(f"Time {time} is too large") from error
    except OSError as error:
        raise CommandError(f"Failed to set time to guest: {error.strerror}") from error
    outcome = ctx.host.run((hwclock, "-w"))
    if not outcome.ok:
        log.warning("the clock is set, but the hardware clock is not: %s: %s", hwclock, outcome.text)
