"""The state of a freeze: whether the guest's filesystems are frozen, until when, and which parts must be notified.

The rule it keeps: a marker file exists in the state directory exactly as long as the state is frozen. An agent that
is killed leaves it behind, and its successor starts frozen: it writes nothing, and thaws when a host asks for it, or
at the deadline of the killed agent. A freeze that ends before a host ends it leaves a note, and the next thaw request
fails, whichever agent handles it: what the host has copied is not consistent.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator

from qga.agent.state import marker
from qga.agent.state.marker import HOOKS, MARKER, NOTE, Early, Held
from qga.agent.state.statefile import DamagedError

log = logging.getLogger(__name__)

POLL = 0.1  # seconds between two tries to lock the marker, while another process still freezes

STOPPED = "the agent was stopped while it was frozen"
_RESTARTED = "the guest was restarted while it was frozen"


class FreezeState:
    """Whether filesystems are frozen. Without a state directory there is no marker, and nothing is frozen at first.

    ``frozen`` is what guest-fsfreeze-status says. ``held`` is also true if nothing could be frozen but hooks were run
    with ``freeze``, because they wait for a thaw, too. ``generation`` counts the freezes. ``deadline`` is when this
    freeze ends by itself, in seconds of CLOCK_MONOTONIC, or None. ``early`` describes a last freeze that ended
    without a host, until a host has received the error. ``stuck`` lists the mount points whose thaw the kernel has
    not answered yet, when everything else is thawed and the hooks have been run with ``thaw``.
    """

    def __init__(self, statedir: str | None = None, timeout: float = 0) -> None:
        """Take over what an earlier agent has left; ``found`` has lines for the log about it.

        ``timeout`` is the number of seconds after which a freeze ends by itself; 0 means never.
        """
        self._statedir = statedir
        self.timeout = timeout
        self._subscribers: list[Callable[[bool], None]] = []
        self.generation = 0
        self.found: list[str] = []
        self.deadline: float | None = None
        self._given: float | None = None  # seconds from the freeze to its deadline
        self.stuck: list[str] = []
        self.early = self._noted()
        self.frozen = self._was_left(MARKER)
        self.held = self.frozen or self._was_left(HOOKS)
        if self.held and self.early is not None:  # an early thaw had begun and was not completed
            self.deadline = time.monotonic()

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """Call ``callback(frozen)`` at every change, and now if the state is frozen."""
        self._subscribers.append(callback)
        if self.frozen:
            callback(True)

    def freeze(self) -> None:
        """Change to frozen, before the first hook runs: from now on nothing may be written."""
        log.warning("filesystems are about to be frozen; logging is held until they are thawed")
        self.generation += 1
        self.early = None
        self.deadline = self._from_now()
        self._given = self.timeout or None
        self._remove(NOTE)
        self._write(MARKER, Held(marker.boot_id(), self.deadline, self._given))
        self._remove(HOOKS)
        self.held = True
        self._change(True)

    def nothing_frozen(self, *, hooks: bool) -> None:
        """Change to thawed, after a freeze that froze no filesystem.

        ``hooks`` says whether hooks were run with ``freeze``. The snapshot may depend on what they have paused, so
        they are run with ``thaw`` only at a thaw or at the deadline.
        """
        if not hooks:
            self.thaw()
            return
        if self._statedir is not None:
            try:
                os.rename(self._path(MARKER), self._path(HOOKS))
            except OSError as error:
                log.warning("cannot create %s: %s", self._path(HOOKS), error.strerror)
        self._change(False)
        log.info("no filesystem was frozen; the hooks wait for a thaw")

    def stay(self, stuck: list[str], early: str | None = None) -> None:
        """Stay frozen after a thaw or a failed freeze: the kernel has not answered about the mount points ``stuck``.

        ``early`` is the reason for a thaw that no host asked for. It is not written to the disk yet: that might hang.
        """
        self.stuck = stuck
        if early is not None and self.early is None:
            self.early = Early(marker.utc(time.time()), early)
        self.deadline = time.monotonic()
        self._change(True)

    def busy(self) -> bool:
        """Return whether a process of an earlier freeze or thaw is still waiting for the kernel."""
        with self.alone(0) as keep:
            return keep is None

    def note_early(self, why: str) -> None:
        """Note that the last filesystem was thawed before a host asked for it: the next thaw will be an error.

        A worker also calls this as soon as it has thawed, so the note exists even if worker or agent is killed next.
        """
        self.early = Early(marker.utc(time.time()), why)
        self._write(NOTE, self.early)

    def forget_early(self) -> None:
        """Remove the note, once a host has received the error."""
        self.early = None
        self._remove(NOTE)

    def overdue(self) -> str:
        """Return why a freeze ends at its deadline."""
        if self._given is None:
            return "its fsfreeze-timeout had passed"
        return f"it had been frozen for {self._given:g} s (fsfreeze-timeout)"

    def thaw(self, early: str | None = None) -> None:
        """Change to thawed, after filesystems and hooks were; ``early`` is the reason if no host asked for it."""
        if early is not None:
            self.early = self._noted()  # the worker's note has the more accurate time
            if self.early is None:
                self.note_early(early)
        self.deadline = self._given = None
        self.stuck = []
        self.held = False
        self._change(False)
        self._remove(MARKER)
        self._remove(HOOKS)
        log.info("filesystems are thawed")

    @contextlib.contextmanager
    def alone(self, patience: float) -> Iterator[tuple[int, ...] | None]:
        """Lock the marker, so that no other process freezes or thaws, such as one that a killed agent left behind.

        Waits at most ``patience`` seconds for the lock, and yields None if another process still has it. Otherwise it
        yields the locked descriptors, for the processes that freeze: one that is stuck in the kernel keeps them open
        even after the agent has ended.
        """
        with contextlib.ExitStack() as stack:
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                descriptor = os.open("" if self._statedir is None else self._path(MARKER), flags)
            except OSError:  # no marker, so no agent has frozen anything
                yield ()
                return
            stack.callback(os.close, descriptor)
            yield (descriptor,) if _lock(descriptor, patience) else None

    def _was_left(self, name: str) -> bool:
        """Return whether an earlier agent of this boot left the file ``name``, and take over its deadline.

        A freeze does not survive a reboot.
        """
        if self._statedir is None:
            return False
        path = self._path(name)
        try:
            held = marker.read_held(path)
        except DamagedError as error:
            self.found.append(f"{path} {error}: it counts as frozen, from now on")
            self.deadline = self._from_now()
            return True
        if held is None:
            return False
        if held.boot == marker.boot_id():
            self.found.append(f"{path} was left by an agent before this one: it waits for a host to thaw")
            self.deadline, self._given = held.deadline, held.timeout
            return True
        self.found.append(f"{path} is of an earlier boot: that freeze ended with it, and the next thaw will say so")
        self.note_early(_RESTARTED)
        self._remove(name)
        return False

    def _noted(self) -> Early | None:
        if self._statedir is None:
            return None
        try:
            return marker.read_early(self._path(NOTE))
        except DamagedError as error:
            self.found.append(f"{self._path(NOTE)} {error}: it counts as a freeze that ended early")
            return Early("a time that is not known", f"so says {self._path(NOTE)}, which {error}")

    def _from_now(self) -> float | None:
        return time.monotonic() + self.timeout if self.timeout else None

    def _path(self, name: str) -> str:
        assert self._statedir is not None
        return os.path.join(self._statedir, name)

    def _write(self, name: str, content: Held | Early) -> None:
        if self._statedir is not None:
            try:
                marker.write(self._path(name), content)
            except OSError as error:
                log.warning("cannot create %s: %s", self._path(name), error.strerror)

    def _remove(self, name: str) -> None:
        if self._statedir is not None:
            try:
                marker.remove(self._path(name))
            except OSError as error:
                log.error("cannot remove %s: %s", self._path(name), error.strerror)

    def _change(self, frozen: bool) -> None:
        self.frozen = frozen
        for callback in self._subscribers:
            callback(frozen)


def _lock(descriptor: int, patience: float) -> bool:
    """Lock a file with flock(2), whose lock ends with the processes that hold it; return whether it succeeded."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)
        else:
            return True
