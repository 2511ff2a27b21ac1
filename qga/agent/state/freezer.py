"""The freezer: freezes and thaws the guest for a host; it also thaws at the deadline and when the agent ends.

The rule it keeps: everything that is frozen gets thawed. The state changes before a freeze begins and after a thaw
has ended, so an agent that is killed in between leaves its marker, and its successor thaws. Work that takes long or
may hang is done in a worker (quiesce.py).
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

FREEZE_LIMIT = 3600.0  # seconds, if nothing else bounds a freeze: a slow disk may have much to write back
THAW_LIMIT = 600.0  # seconds
PATIENCE = 30.0  # seconds to wait for a killed agent's worker, and for the thaw of a busy disk
END_PATIENCE = 10.0  # the same, when the agent ends
END_LIMIT = 60.0  # seconds for the last thaw: systemd kills what has not ended after 90
THAW_PAUSE = 10.0  # seconds between two tries to thaw at the deadline
STUCK_PAUSE = 1.0  # seconds between two checks whether the kernel has answered; they are cheap


class Freezer:
    """Carries out one freeze or thaw at a time, in order. ``state`` says what is frozen now, and until when."""

    def __init__(self, loop: Loop, workers: Workers, host: Host, state: FreezeState, config: Config) -> None:
        self.state = state
        self._loop, self._workers, self._host, self._config = loop, workers, host, config
        self._lock = Lock()
        self._timer: Timer | None = None
        state.subscribe(lambda frozen: self._wait_for_deadline())
        self._wait_for_deadline()  # subscribe() calls back only if frozen, not if only an earlier agent's hooks wait

    def configure(self, config: Config) -> None:
        """Apply a new configuration; a freeze that has begun keeps its deadline."""
        self._config = config
        self.state.timeout = config.fsfreeze_timeout

    async def freeze(self, mountpoints: Sequence[str] | None = None) -> int:
        """Freeze the filesystems at ``mountpoints``, or all; return how many were frozen. Raises CommandError."""
        async with self._lock:
            begun = time.monotonic()
            self.state.freeze()
            host, config, state = self._host, self._config, self.state
            limit = config.fsfreeze_timeout or FREEZE_LIMIT
            try:
                # The worker ends in time by itself, except for hooks that it runs with "thaw" after a failure.
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
        """Thaw for a host; return how many filesystems were frozen. Raises CommandError.

        Filesystems that this agent did not freeze are thawed, too: an agent that was killed may have frozen them.
        """
        async with self._lock:
            early = self.state.early
            if early is None:
                return await self._thaw()
            if self.state.held:  # an agent was killed between its early thaw and the end of the freeze
                await self._thaw()
            self.state.forget_early()
            raise CommandError(str(early))

    async def thaw_overdue(self, generation: int) -> None:
        """End the freeze ``generation``, which has passed its deadline, unless it has already ended.

        This also finishes a thaw that the kernel had not answered. Raises CommandError; the caller tries again.
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
        """Thaw without the loop when the agent ends: a guest with frozen filesystems cannot even be shut down."""
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
        """Thaw in a worker; ``early`` says why if no host asked for it. Raises CommandError."""
        host, config, state = self._host, self._config, self.state

        def work() -> quiesce.Thawed:
            return quiesce.thaw(host, config, state, early, PATIENCE, hooks=hooks)

        try:
            found = await self._workers(work, THAW_LIMIT)
        except NotStartedError:
            found = work()
        return self._settle(found, early)

    def _settle(self, found: quiesce.Thawed, early: str | None) -> int:
        """Update the state with the result of a thaw; return how many were thawed. Raises CommandError."""
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
        """Set the deadline's timer to ``seconds`` from now, replacing the previous one; None sets no timer."""
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
