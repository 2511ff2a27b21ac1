"""Freezes and thaws the guest: for a host, at the deadline of a freeze that no host ends, and when the agent ends.

The rule it keeps: all that is frozen is thawed. The state changes before a freeze begins and after a thaw has ended,
so that an agent that is killed in between leaves its marker, and its successor thaws. What takes long, or may hang,
is done in a worker (quiesce.py).
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence

from qga.agent.config import Config
from qga.agent.linux.host import Host
from qga.agent.loop import Loop, Timer
from qga.agent.processes import NotStartedError, WorkerDiedError, Workers
from qga.agent.state import quiesce
from qga.agent.state.freeze import STOPPED, FreezeState
from qga.agent.tasks import Lock, Task
from qga.protocol.errors import CommandError

log = logging.getLogger(__name__)

FREEZE_LIMIT = 3600.0  # seconds, where nothing else bounds a freeze: a slow disk writes down much
THAW_LIMIT = 600.0  # seconds
PATIENCE = 30.0  # seconds for a worker that a killed agent has left, and for a disk to thaw, which is busy then
END_PATIENCE = 10.0  # the same, where the agent ends
END_LIMIT = 60.0  # seconds for the last thaw: systemd kills what has not ended after 90
THAW_PAUSE = 10.0  # seconds between two tries to thaw at the deadline
STUCK_PAUSE = 1.0  # seconds between two looks at whether the kernel has answered: they cost nothing


class Freezer:
    """``state`` says what is frozen now, and until when. One freeze or thaw is carried out at a time, in turn."""

    def __init__(self, loop: Loop, workers: Workers, host: Host, state: FreezeState, config: Config) -> None:
        self.state = state
        self._loop, self._workers, self._host, self._config = loop, workers, host, config
        self._lock = Lock()
        self._timer: Timer | None = None
        state.subscribe(lambda frozen: self._wait_for_deadline())
        self._wait_for_deadline()  # of hooks alone, which an agent before this one has run: nothing is frozen

    def configure(self, config: Config) -> None:
        """Put a new configuration into force; a freeze that has begun keeps its deadline."""
        self._config = config
        self.state.timeout = config.fsfreeze_timeout

    async def freeze(self, mountpoints: Sequence[str] | None = None) -> int:
        """Freeze these, or all; returns how many filesystems were frozen. Raises CommandError."""
        async with self._lock:
            begun = time.monotonic()
            self.state.freeze()
            host, config, state = self._host, self._config, self.state
            limit = config.fsfreeze_timeout or FREEZE_LIMIT
            try:
                # It ends by itself in time, but for hooks that are run with "thaw" then.
                count, hooks_ran, failure, stuck = await self._workers(
                    lambda: quiesce.freeze(host, config, state, mountpoints, begun, limit, min(PATIENCE, limit)),
                    limit + THAW_LIMIT,
                    signal.SIGTERM,
                )
            except WorkerDiedError:
                await self._thaw()
                raise
            except CommandError:
                self.state.thaw()
                raise
            if stuck:
                self.state.stay(stuck)
            elif failure is not None:
                self.state.thaw()
            elif not count:
                self.state.nothing_frozen(hooks=hooks_ran)
            if failure is not None:
                raise CommandError("; ".join((failure, quiesce.unanswered(stuck))) if stuck else failure)
            return count

    async def thaw(self) -> int:
        """Thaw for a host; returns how many filesystems were frozen. Raises CommandError.

        What this agent has not frozen is thawed too: what one that was killed has frozen is not known.
        """
        async with self._lock:
            early = self.state.early
            if early is None:
                return await self._thaw()
            if self.state.held:  # an agent was killed after it had thawed, and before it had ended the freeze
                await self._thaw()
            self.state.forget_early()
            raise CommandError(str(early))

    async def thaw_overdue(self, generation: int) -> None:
        """Thaw what has been frozen for too long, unless that freeze has ended by now. Raises CommandError.

        So is what the kernel had not answered about; not as long as it still does not, which has to be tried again.
        """
        async with self._lock:
            state = self.state
            if not state.held or state.generation != generation:
                return
            if not state.stuck:
                log.error("the guest was frozen for longer than fsfreeze-timeout allows: thawing it")
                await self._thaw(state.overdue())
            elif state.busy():
                raise CommandError(quiesce.unanswered(state.stuck))
            else:
                found = ", ".join(state.stuck)
                await self._thaw(None if state.early is None else state.early.why, hooks=False)
                log.warning(
                    "the kernel has answered at last: nothing is frozen any more at %s", found or "any mount point"
                )

    def thaw_at_end(self) -> None:
        """Thaw without the loop, as the agent ends: a guest with frozen filesystems cannot even be shut down."""
        if not self.state.held:
            return
        log.warning("the agent ends while the guest is frozen: thawing it")
        host, config, state = self._host, self._config, self.state

        def work() -> quiesce.Thawed:
            return quiesce.thaw(host, config, state, STOPPED, END_PATIENCE)

        try:
            try:
                found = self._workers.wait(work, END_LIMIT)
            except NotStartedError:
                found = work()
            self._settle(found, STOPPED)
        except CommandError as error:
            log.error("thawing: %s", error)

    async def _thaw(self, early: str | None = None, *, hooks: bool = True) -> int:
        """Thaw; ``early`` says why, if no host asked for it."""
        host, config, state = self._host, self._config, self.state

        def work() -> quiesce.Thawed:
            return quiesce.thaw(host, config, state, early, PATIENCE, hooks=hooks)

        try:
            found = await self._workers(work, THAW_LIMIT)
        except NotStartedError:
            found = work()
        return self._settle(found, early)

    def _settle(self, found: quiesce.Thawed, early: str | None) -> int:
        """Take over what a thaw has found; returns how many were thawed. Raises CommandError."""
        thawed, stuck, failures = found
        if stuck:
            self.state.stay(stuck, early)
            failures = [quiesce.unanswered(stuck), *failures]
        else:
            self.state.thaw(early)
        if failures:
            raise CommandError("; ".join(failures))
        return thawed

    def _wait_for_deadline(self) -> None:
        deadline = self.state.deadline
        self._thaw_in(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _thaw_in(self, seconds: float | None) -> None:
        """Set the one timer of the deadline to so many seconds from now; None sets none."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        again = bool(self.state.stuck)  # the log says so already
        task = Task(self.thaw_overdue(self.state.generation))

        def check() -> None:
            try:
                task.result()
            except CommandError as error:
                log.log(logging.DEBUG if again else logging.ERROR, "thawing: %s", error)
                if self.state.held:
                    self._thaw_in(STUCK_PAUSE if self.state.stuck else THAW_PAUSE)

        task.then(check)
