"""Freezing the guest's filesystems for a snapshot, and thawing them.

What takes long, or may hang, is done in a worker; the calls that the kernel may not return from are made by processes
of their own (``linux.freezing``), so that the worker, too, always ends. The state changes before it begins and after
it has ended, so that an agent that is killed in between leaves its marker: its successor thaws.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Sequence

from qga.agent.context import Context
from qga.agent.linux import freezing, hooks
from qga.agent.linux.freezing import UNDO_WAIT, FreezeError
from qga.agent.linux.mounts import list_mounts, named, without
from qga.agent.processes import NotStartedError, WorkerDiedError
from qga.agent.state.freeze import STOPPED
from qga.protocol.errors import CommandError

log = logging.getLogger(__name__)

FREEZE_LIMIT = 3600.0  # seconds, where nothing else bounds a freeze: a slow disk writes down much
THAW_LIMIT = 600.0  # seconds
PATIENCE = (
    30.0  # seconds for a worker that a killed agent has left behind; and for a disk to thaw, which is busy then
)
END_PATIENCE = 10.0  # the same, where the agent ends
END_LIMIT = 60.0  # seconds for the last thaw: systemd kills what has not ended after 90
NOTE_WAIT = 5.0  # seconds to write a small file, which may lie on what hangs
MOMENT = 0.001  # seconds, for a hook that has no time left: 0 is for ever

_SOMEWHERE = ""  # stuck: at a mount point that is not known
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
    """Thaw what has been frozen for too long, unless that freeze has ended by now. Raises CommandError.

    So is what the kernel had not answered about; not as long as it still does not, which has to be tried again.
    """
    async with ctx.freeze.turn:
        state = ctx.freeze
        if not state.held or state.generation != generation:
            return
        if not state.stuck:
            log.error("the guest was frozen for longer than fsfreeze-timeout allows: thawing it")
            await _thaw(ctx, state.overdue())
        elif state.busy():
            raise CommandError(_unanswered(state.stuck))
        else:
            found = ", ".join(state.stuck)
            await _thaw(ctx, None if state.early is None else state.early.why, hooks=False)
            log.warning(
                "the kernel has answered at last: nothing is frozen any more at %s", found or "any mount point"
            )


def thaw_at_end(ctx: Context) -> None:
    """Thaw without the loop: the agent is about to end. Raises CommandError."""
    try:
        found = ctx.workers.wait(lambda: _thaw_all(ctx, STOPPED, END_PATIENCE), END_LIMIT)
    except NotStartedError:
        found = _thaw_all(ctx, STOPPED, END_PATIENCE)
    _thawed(ctx, found, STOPPED)


async def _freeze(ctx: Context, wanted: list[str] | None) -> int:
    async with ctx.freeze.turn:
        begun = time.monotonic()
        ctx.freeze.freeze()
        limit = ctx.config.fsfreeze_timeout or FREEZE_LIMIT
        try:
            # It ends by itself in time, but for hooks that it tells of the thaw.
            count, hooks_ran, failure, stuck = await ctx.workers(
                lambda: _freeze_all(ctx, wanted, limit, begun), limit + THAW_LIMIT, signal.SIGTERM
            )
        except WorkerDiedError:
            await _thaw(ctx)
            raise
        except CommandError:
            ctx.freeze.thaw()
            raise
        if stuck:
            ctx.freeze.stay(stuck)
        elif failure is not None:
            ctx.freeze.thaw()
        elif not count:
            ctx.freeze.nothing_frozen(hooks=hooks_ran)
        if failure is not None:
            raise CommandError("; ".join((failure, _unanswered(stuck))) if stuck else failure)
        return count


async def _thaw(ctx: Context, early: str | None = None, *, hooks: bool = True) -> int:
    """Thaw; ``early`` says why, if no host asked for it."""
    try:
        found = await ctx.workers(lambda: _thaw_all(ctx, early, PATIENCE, hooks=hooks), THAW_LIMIT)
    except NotStartedError:
        found = _thaw_all(ctx, early, PATIENCE, hooks=hooks)
    return _thawed(ctx, found, early)


def _thawed(ctx: Context, found: tuple[int, list[str], list[str]], early: str | None) -> int:
    """Take over what ``_thaw_all`` found. Raises CommandError."""
    thawed, stuck, failures = found
    if stuck:
        ctx.freeze.stay(stuck, early)
        failures = [_unanswered(stuck), *failures]
    else:
        ctx.freeze.thaw(early)
    if failures:
        raise CommandError("; ".join(failures))
    return thawed


def _freeze_all(
    ctx: Context, wanted: list[str] | None, limit: float, begun: float
) -> tuple[int, bool, str | None, list[str]]:
    """Run the hooks, then freeze, all within ``limit`` seconds after ``begun``, a time of CLOCK_MONOTONIC.

    Returns how many were frozen, and whether hooks ran. If one fails, what was frozen is thawed, and the hooks that
    ran are told of it: then how, and the mount points that the kernel has not answered about, if there are any.
    """
    with ctx.freeze.alone(min(PATIENCE, limit)) as keep:
        if keep is None:
            raise CommandError(_STILL_FREEZING)
        try:
            with contextlib.ExitStack() as undo:
                to_run = _hooks(ctx)
                for hook in to_run:
                    undo.callback(_tell_of_thaw, ctx, hook)
                    left = max(MOMENT, begun + limit - time.monotonic())
                    hooks.run_hook(ctx.host, hook, "freeze", min(ctx.config.fsfreeze_hook_timeout or left, left))
                mounts = without(list_mounts(ctx.host), ctx.config.exclude_fs)
                listed = mounts if wanted is None else named(mounts, wanted)
                order = freezing.freezing_order(ctx.host, listed)
                frozen = freezing.freeze(ctx.host, order, limit, begun, keep)
                undo.pop_all()
        except FreezeError as error:
            if error.stuck:
                log.error("%s; %s", error, _unanswered(error.stuck))
            return 0, True, str(error), error.stuck
        return len(frozen), bool(to_run), None, []


def _thaw_all(
    ctx: Context, early: str | None, patience: float, *, hooks: bool = True
) -> tuple[int, list[str], list[str]]:
    """Thaw, then run the hooks; returns how many were thawed, what is stuck, and what the hooks said that failed.

    ``patience`` (seconds) is how long the kernel is waited for, and a process that still freezes, to undo that.
    ``early`` is noted before the hooks are run: one may take long, and the agent may be killed meanwhile.
    """
    mounts, known = list_mounts(ctx.host), ctx.freeze.stuck
    with contextlib.ExitStack() as until_the_end:
        keep = until_the_end.enter_context(ctx.freeze.alone(0))
        left = mounts if keep is not None else [mount for mount in mounts if mount.mountpoint not in known]
        thawed, stuck = freezing.thaw(ctx.host, left, keep or (), UNDO_WAIT if keep is None else patience)
        if keep is None:
            keep = until_the_end.enter_context(ctx.freeze.alone(UNDO_WAIT if known else patience))
            if keep is None:
                stuck = [*known, *stuck] or [_SOMEWHERE]
            else:
                more, stuck = freezing.thaw(ctx.host, mounts, keep, patience)
                thawed += more
        if early is not None:
            ctx.host.within(NOTE_WAIT, lambda: ctx.freeze.note_early(early))
        return thawed, stuck, _tell_all_of_thaw(ctx) if hooks else []


def _tell_all_of_thaw(ctx: Context) -> list[str]:
    """What those said that failed."""
    try:
        run = reversed(_hooks(ctx))
    except CommandError as error:
        return [str(error)]
    return [said for hook in run if (said := _failure(ctx, hook)) is not None]


def _unanswered(stuck: Sequence[str]) -> str:
    """What to say of mount points that the kernel has not answered about."""
    if _SOMEWHERE in stuck:
        return _STILL_FREEZING
    return f"the kernel does not answer about {', '.join(stuck)}, which is thawed as soon as it does"


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
