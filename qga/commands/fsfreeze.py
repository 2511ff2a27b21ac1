"""Freezing the guest's filesystems for a snapshot, thawing them, and trimming them."""

from __future__ import annotations

import logging

from qga.context import Context
from qga.errors import CommandError
from qga.linux import freezing, trimming
from qga.linux.mounts import Mount, list_mounts

log = logging.getLogger(__name__)

HOOK_TIMEOUT = 300.0  # seconds; a database that flushes its tables may take minutes, one that takes longer hangs


def guest_fsfreeze_status(ctx: Context) -> str:
    return "frozen" if ctx.freeze.frozen else "thawed"


def guest_fsfreeze_freeze(ctx: Context) -> int:
    return _freeze(ctx, None)


def guest_fsfreeze_freeze_list(ctx: Context, *, mountpoints: list[str] | None = None) -> int:
    return _freeze(ctx, mountpoints)


def _freeze(ctx: Context, wanted: list[str] | None) -> int:
    _run_hook(ctx, "freeze")
    mounts = [mount for mount in list_mounts(ctx.host) if wanted is None or mount.mountpoint in wanted]
    order = freezing.freezing_order(ctx.host, mounts)
    ctx.freeze.freeze()
    try:
        frozen = freezing.freeze(ctx.host, order)
    except BaseException:
        ctx.freeze.thaw()
        try:
            _run_hook(ctx, "thaw")
        except CommandError as error:
            log.error("the freeze failed, and then the hook: %s", error)
        raise
    if not frozen:
        ctx.freeze.thaw()  # without the hook, as QEMU: the host may well ask for a thaw, and that runs it
    return len(frozen)


def guest_fsfreeze_thaw(ctx: Context) -> int:
    """Also what no agent has frozen, for nobody knows what one that was killed had."""
    order = freezing.freezing_order(ctx.host, list_mounts(ctx.host))
    thawed = freezing.thaw(ctx.host, reversed(order))
    ctx.freeze.thaw()
    _run_hook(ctx, "thaw")
    return thawed


def _run_hook(ctx: Context, event: str) -> None:
    hook = ctx.fsfreeze_hook
    if hook is not None:
        ctx.host.run((hook, event), timeout=HOOK_TIMEOUT).require(hook, "execute fsfreeze hook")


def guest_fstrim(ctx: Context, *, minimum: int = 0) -> dict[str, object]:
    return {"paths": [_trim(ctx, mount, minimum) for mount in reversed(list_mounts(ctx.host))]}


def _trim(ctx: Context, mount: Mount, minimum: int) -> dict[str, object]:
    outcome = trimming.trim(ctx.host, mount, minimum)
    told = {
        "path": mount.mountpoint,
        "trimmed": outcome.trimmed,
        "minimum": outcome.minimum,
        "error": outcome.error,
    }
    return {name: value for name, value in told.items() if value is not None}
