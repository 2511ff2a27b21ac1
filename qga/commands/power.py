"""Sleep and shutdown. On success there is nothing to say: the guest is gone, or was."""

from __future__ import annotations

from qga.context import Context
from qga.errors import CommandError
from qga.linux import power


def guest_shutdown(ctx: Context, *, mode: str = "powerdown") -> None:
    if mode not in power.SHUTDOWN_MODES:
        raise CommandError("mode is invalid (valid values are: halt|powerdown|reboot")
    refusals = power.shut_down(ctx.host, mode)
    if refusals:
        raise CommandError(f"failed to shut down ({mode}): {'; '.join(refusals)}")


def guest_suspend_disk(ctx: Context) -> None:
    _suspend(ctx, power.DISK)


def guest_suspend_ram(ctx: Context) -> None:
    _suspend(ctx, power.RAM)


def guest_suspend_hybrid(ctx: Context) -> None:
    _suspend(ctx, power.HYBRID)


def _suspend(ctx: Context, mode: power.SleepMode) -> None:
    supported, refusals = power.suspend(ctx.host, mode)
    if refusals:
        what = "failed to suspend" if supported else "the requested suspend mode is not supported by the guest"
        raise CommandError(f"{what} ({mode.name}): {'; '.join(refusals)}")
