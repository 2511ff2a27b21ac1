"""Freezing the guest's filesystems for a snapshot, and thawing them.

What takes long, or may hang, is done in a worker. The state changes before it begins and after it has ended, so that
an agent that is killed in between leaves its marker: its successor thaws.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from qga.context import Context
from qga.errors import CommandError
from qga.linux import freezing, hooks
from qga.linux.mounts import list_mounts, without
from qga.processes import NotStartedError, WorkerDiedError

log = logging.getLogger(__name__)

FREEZE_LIMIT = 3600.0  # seconds, where nothing else bounds a freeze: a slow disk writes down much
THAW_LIMIT = 600.0  # seconds
PATIENCE = 30.0  # seconds for a worker that a killed agent has left behind, in the middle of a freeze

_STILL_FREEZING = "an earlier freeze is still under way"


def guest_fsfreeze_status(ctx: Context) -> str:
    return "frozen" if ctx.freeze.frozen else "thawed"


async def guest_fsfreeze_freeze(ctx: Context) -> int:
    return await _freeze(ctx, None)


async def guest_fsfreeze_freeze_list(ctx: Context, *, mountpoints: list[str] | None = None) -> int:
    return await _freeze(ctx, mountpoints)


async def guest_fsfreeze_thaw(ctx: Context) -> int:
    """Also what no agent has frozen, for nobody knows what one that was killed had."""
    async with ctx.freeze.turn:
        if ctx.freeze.overdue:
            ctx.freeze.overdue = False
            raise CommandError(
                f"the filesystems were thawed before, {ctx.config.fsfreeze_timeout:g} s after they were frozen "
                "(fsfreeze-timeout): what was copied since then is not consistent"
            )
        return await _thaw(ctx)


async def thaw_overdue(ctx: Context, generation: int) -> None:
    """Thaw what has been frozen for too long, unless that freeze has ended by now. Raises CommandError."""
    async with ctx.freeze.turn:
        if ctx.freeze.frozen and ctx.freeze.generation == generation:
            await _thaw(ctx, overdue=True)


def thaw_at_end(ctx: Context) -> None:
    """Thaw on the spot: the agent is about to end. Raises CommandError."""
    _, failures = _thaw_all(ctx)
    ctx.freeze.thaw()
    _report(failures)


async def _freeze(ctx: Context, wanted: list[str] | None) -> int:
    async with ctx.freeze.turn:
        ctx.freeze.freeze()
        try:
            limit = ctx.config.fsfreeze_timeout or FREEZE_LIMIT
            count = await ctx.workers(lambda: _freeze_all(ctx, wanted), limit)
        except WorkerDiedError:
            await _thaw(ctx)
            raise
        except CommandError:
            ctx.freeze.thaw()
            raise
        if not count:
            ctx.freeze.thaw()  # without the hook, as QEMU: the host may well ask for a thaw, and that runs it
        return count


async def _thaw(ctx: Context, *, overdue: bool = False) -> int:
    try:
        thawed, failures = await ctx.workers(lambda: _thaw_all(ctx), THAW_LIMIT)
    except NotStartedError:
        thawed, failures = _thaw_all(ctx)  # better that the agent is held up than that the guest stays frozen
    ctx.freeze.thaw(overdue=overdue)
    _report(failures)
    return thawed


def _freeze_all(ctx: Context, wanted: list[str] | None) -> int:
    """Run the hooks, then freeze. If one fails, what was frozen is thawed, and the hooks that ran are told of it."""
    config = ctx.config
    with ctx.freeze.alone(PATIENCE) as alone, contextlib.ExitStack() as undo:
        if not alone:
            raise CommandError(_STILL_FREEZING)
        for hook in _hooks(ctx):
            undo.callback(_tell_of_thaw, ctx, hook)
            hooks.run_hook(ctx.host, hook, "freeze", config.fsfreeze_hook_timeout)
        mounts = without(list_mounts(ctx.host), config.exclude_fs)
        listed = [mount for mount in mounts if wanted is None or mount.mountpoint in wanted]
        frozen = freezing.freeze(ctx.host, freezing.freezing_order(ctx.host, listed))
        undo.pop_all()
        return len(frozen)


def _thaw_all(ctx: Context) -> tuple[int, list[str]]:
    """Thaw, then run the hooks; returns how many were thawed, and what the hooks said that failed."""
    with ctx.freeze.alone(PATIENCE) as alone:
        order = freezing.freezing_order(ctx.host, list_mounts(ctx.host))
        thawed = freezing.thaw(ctx.host, reversed(order))
        if not alone:
            raise CommandError(_STILL_FREEZING)
        try:
            run = reversed(_hooks(ctx))
        except CommandError as error:
            return thawed, [str(error)]
        return thawed, [said for hook in run if (said := _failure(ctx, hook)) is not None]


def _hooks(ctx: Context) -> list[str]:
    """Raises CommandError for one that must not be run."""
    path = ctx.config.fsfreeze_hook
    return [] if path is None else hooks.list_hooks(ctx.host, path)


def _failure(ctx: Context, hook: str) -> str | None:
    """Tell a hook of the thaw; what it said if it failed."""
    try:
        hooks.run_hook(ctx.host, hook, "thaw", ctx.config.fsfreeze_hook_timeout)
    except CommandError as error:
        return str(error)
    return None


def _tell_of_thaw(ctx: Context, hook: str) -> None:
    failure = _failure(ctx, hook)
    if failure is not None:
        log.error("the freeze failed, and then the hook: %s", failure)


def _report(failures: Sequence[str]) -> None:
    if failures:
        raise CommandError("; ".join(failures))
