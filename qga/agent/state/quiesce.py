"""The work of a freeze and of a thaw, on hooks and filesystems in the right order; a worker carries it out.

The rule it keeps: it always ends. System calls that may never return are made in separate processes
(``linux.freezing``), and mount points without an answer by then are reported. Results can be marshalled (marshal).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence

from qga.agent.config import Config
from qga.agent.linux import freezing, hooks
from qga.agent.linux.freezing import UNDO_WAIT, FreezeError
from qga.agent.linux.host import Host
from qga.agent.linux.mounts import list_mounts, named, without
from qga.agent.state.freeze import FreezeState
from qga.protocol.errors import CommandError

log = logging.getLogger(__name__)

NOTE_WAIT = 5.0  # seconds to write a small file, which may be on a filesystem that hangs
MOMENT = 0.001  # seconds, for a hook that has no time left: 0 would mean no limit

# How many were frozen; whether hooks ran; the error of a failed freeze; the mount points that the kernel has not
# answered about.
Frozen = tuple[int, bool, "str | None", list[str]]
# How many were thawed; the mount points that the kernel has not answered about; the errors of the hooks that failed.
Thawed = tuple[int, list[str], list[str]]

_SOMEWHERE = ""  # a mount point that is not known
_STILL_FREEZING = "an earlier freeze is still under way"


def freeze(
    host: Host,
    config: Config,
    state: FreezeState,
    mountpoints: Sequence[str] | None,
    begun: float,
    limit: float,
    patience: float,
) -> Frozen:
    """Run the hooks, then freeze ``mountpoints`` or all, within ``limit`` seconds after ``begun`` (CLOCK_MONOTONIC).

    If a step fails, everything is undone: filesystems are thawed, and the hooks that ran are run with ``thaw``.
    ``patience`` is how many seconds to wait for a process that still freezes for an earlier agent.
    Raises CommandError if it fails before the filesystems' turn.
    """
    with state.alone(patience) as keep:
        if keep is None:
            raise CommandError(_STILL_FREEZING)
        try:
            with contextlib.ExitStack() as undo:
                to_run = _hooks(host, config)
                for hook in to_run:
                    undo.callback(_undo_hook, host, config, hook)
                    left = max(MOMENT, begun + limit - time.monotonic())
                    hooks.run_hook(host, hook, "freeze", min(config.fsfreeze_hook_timeout or left, left))
                mounts = without(list_mounts(host), config.exclude_fs)
                listed = mounts if mountpoints is None else named(mounts, mountpoints)
                order = freezing.freezing_order(host, listed)
                frozen = freezing.freeze(host, order, limit, begun, keep)
                undo.pop_all()
        except FreezeError as error:
            if error.stuck:
                log.error("%s; %s", error, unanswered(error.stuck))
            return 0, True, str(error), error.stuck
        return len(frozen), bool(to_run), None, []


def thaw(
    host: Host, config: Config, state: FreezeState, early: str | None, patience: float, *, hooks: bool = True
) -> Thawed:
    """Thaw all filesystems, then run the hooks with ``thaw``.

    ``patience`` is how many seconds to wait for the kernel, and for a process that still freezes, to undo its work.
    ``early`` is noted before the hooks run: a hook may take long, and the agent may be killed meanwhile.
    """
    mounts, known = list_mounts(host), state.stuck
    with contextlib.ExitStack() as until_the_end:
        keep = until_the_end.enter_context(state.alone(0))
        left = mounts if keep is not None else [mount for mount in mounts if mount.mountpoint not in known]
        thawed, stuck = freezing.thaw(host, left, keep or (), UNDO_WAIT if keep is None else patience)
        if keep is None:
            keep = until_the_end.enter_context(state.alone(UNDO_WAIT if known else patience))
            if keep is None:
                stuck = [*known, *stuck] or [_SOMEWHERE]
            else:
                more, stuck = freezing.thaw(host, mounts, keep, patience)
                thawed += more
        if early is not None:
            host.within(NOTE_WAIT, lambda: state.note_early(early))
        return thawed, stuck, _thaw_hooks(host, config) if hooks else []


def unanswered(stuck: Sequence[str]) -> str:
    """Return the error about mount points that the kernel has not answered about."""
    if _SOMEWHERE in stuck:
        return _STILL_FREEZING
    return f"the kernel does not answer about {', '.join(stuck)}, which is thawed as soon as it does"


def _hooks(host: Host, config: Config) -> list[str]:
    """Return the hooks in the order of a freeze. Raises CommandError for a hook that must not be run."""
    path = config.fsfreeze_hook
    return [] if path is None else hooks.list_hooks(host, path)


def _thaw_hooks(host: Host, config: Config) -> list[str]:
    """Run every hook with ``thaw``, in reverse order; return the errors of those that failed."""
    try:
        to_run = reversed(_hooks(host, config))
    except CommandError as error:
        return [str(error)]
    return [failure for hook in to_run if (failure := _failure(host, config, hook)) is not None]


def _undo_hook(host: Host, config: Config, hook: str) -> None:
    failure = _failure(host, config, hook)
    if failure is not None:
        log.error("the freeze failed, and then the hook: %s", failure)


def _failure(host: Host, config: Config, hook: str) -> str | None:
    """Run a hook with ``thaw``; return its error if it failed, else None."""
    try:
        hooks.run_hook(host, hook, "thaw", config.fsfreeze_hook_timeout)
    except CommandError as error:
        return str(error)
    return None
