"""Suspend and shutdown. Success sends no reply: the guest is down, or was asleep until now."""

from __future__ import annotations

from qga.agent.context import Context
from qga.agent.linux import power
from qga.protocol.errors import CommandError

SUSPEND_LIMIT = 2400.0  # seconds awake: three methods, each with a few helpers that may take SLEEP_TIMEOUT


async def guest_shutdown(ctx: Context, *, mode: str = "powerdown") -> None:
    """Start a shutdown by the first method that works: systemctl(1), or the programs of a classic init, shutdown(8).

    An agent that does not run as root first sends systemd a signal: systemd(1).
    """
    if mode not in power.SHUTDOWN_MODES:
        raise CommandError("mode is invalid (valid values are: halt|powerdown|reboot")
    refusals = await ctx.workers(lambda: power.shut_down(ctx.host, mode))
    if refusals:
        raise CommandError(f"failed to shut down ({mode}): {'; '.join(refusals)}")


async def guest_suspend_disk(ctx: Context) -> None:
    """Hibernate by the first of pm-utils, systemd and /sys/power that works: ``SLEEP_METHODS`` in linux/power.py."""
    await _suspend(ctx, power.DISK)


async def guest_suspend_ram(ctx: Context) -> None:
    """Suspend to RAM by the first of pm-utils, systemd and /sys/power that works: ``SLEEP_METHODS``."""
    await _suspend(ctx, power.RAM)


async def guest_suspend_hybrid(ctx: Context) -> None:
    """Suspend to RAM with an image on the disk, by the first of pm-utils, systemd and /sys/power that works."""
    await _suspend(ctx, power.HYBRID)


async def _suspend(ctx: Context, mode: power.SleepMode) -> None:
    supported, refusals = await ctx.workers(lambda: power.suspend(ctx.host, mode), limit=SUSPEND_LIMIT)
    if refusals:
        what = "failed to suspend" if supported else "the requested suspend mode is not supported by the guest"
        raise CommandError(f"{what} ({mode.name}): {'; '.join(refusals)}")
