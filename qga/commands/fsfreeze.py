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
from qga.freeze import STOPPED
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
        early = ctx.freeze.early
        if early is None:
            return await _thaw(ctx)
        if ctx.freeze.held:  # an agent was killed after it had thawed, and before it had ended the freeze
            await _thaw(ctx)
        ctx.freeze.forget_early()
        raise CommandError(str(early))


async def thaw_overdue(ctx: Context, generation: int) -> None:
    """Thaw what has been frozen for too long, unless that freeze has ended by now. Raises CommandError."""
    async with ctx.freeze.turn:
        if ctx.freeze.held and ctx.freeze.generation == generation:
            await _thaw(ctx, ctx.freeze.overdue())


def thaw_at_end(ctx: Context) -> None:
    """Thaw on the spot: the agent is about to end. Raises CommandError."""
    _, failures = _thaw_all(ctx, STOPPED)
    ctx.freeze.thaw(STOPPED)
    _report(failures)


async def _freeze(ctx: Context, wanted: list[str] | None) -> int:
    async with ctx.freeze.turn:
        ctx.freeze.freeze()
        try:
            limit = ctx.config.fsfreeze_timeout or FREEZE_LIMIT
            count, hooks_ran = await ctx.workers(lambda: _freeze_all(ctx, wanted), limit)
        except WorkerDiedError:
            await _thaw(ctx)
            raise
        except CommandError:
            ctx.freeze.thaw()
            raise
        if not count:
            ctx.freeze.nothing_frozen(hooks=hooks_ran)
        return count


async def _thaw(ctx: Context, early: str | None = None) -> int:
    """Thaw; ``early`` says why, if no host asked for it."""
    try:
        thawed, failures = await ctx.workers(lambda: _thaw_all(ctx, early), THAW_LIMIT)
    except NotStartedError:
        thawed, failures = _thaw_all(ctx, early)  # better that the agent is held up than that the guest stays frozen
    ctx.freeze.thaw(early)
    _report(failures)
    return thawed


def _freeze_all(ctx: Context, wanted: list[str] | None) -> tuple[int, bool]:
    """Run the hooks, then freeze; returns how many were frozen, and whether hooks ran.

    If one fails, what was frozen is thawed, and the hooks that ran are told of it.
    """
    config = ctx.config
    with ctx.freeze.alone(PATIENCE) as alone, contextlib.ExitStack() as undo:
        if not alone:
            raise CommandError(_STILL_FREEZING)
        to_run = _hooks(ctx)
        for hook in to_run:
            undo.callback(_tell_of_thaw, ctx, hook)
            hooks.run_hook(ctx.host, hook, "freeze", config.fsfreeze_hook_timeout)
        mounts = without(list_mounts(ctx.host), config.exclude_fs)
        listed = [mount for mount in mounts if wanted is None or mount.mountpoint in wanted]
        frozen = freezing.freeze(ctx.host, freezing.freezing_order(ctx.host, listed))
        undo.pop_all()
        return len(frozen), bool(to_run)


def _thaw_all(ctx: Context, early: str | None = None) -> tuple[int, list[str]]:
    """Thaw, then run the hooks; returns how many were thawed, and what the hooks said that failed.

    ``early`` is noted between the two: a hook may take long, and the agent may be killed meanwhile.
    """
    with ctx.freeze.alone(PATIENCE) as alone:
        order = freezing.freezing_order(ctx.host, list_mounts(ctx.host))
        thawed = freezing.thaw(ctx.host, reversed(order))
        if not alone:
            raise CommandError(_STILL_FREEZING)
        if early is not None:
            ctx.freeze.note_early(early)
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
