"""Whether this agent holds the guest's filesystems frozen, until when, and who has to know.

The rule it keeps: a marker file lies in the state directory exactly as long as the state is frozen. An agent that is
killed leaves it behind, and its successor starts frozen: it writes nothing, can be told to thaw, and thaws by itself
when the killed one would have.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator

from qga.waiting import Turn

log = logging.getLogger(__name__)

MARKER = "qga.state.isfrozen"
POLL = 0.1  # seconds between two looks at whether another process still freezes

_BOOT_ID = "/proc/sys/kernel/random/boot_id"  # random(4)


class FreezeState:
    """Without a state directory there is no marker, and the state is thawed at first.

    ``generation`` counts the freezes. ``deadline`` is when the current one ends by itself, in seconds of
    CLOCK_MONOTONIC, or None. ``overdue`` says that the last one has ended so, and no host has been told yet.
    Whoever freezes or thaws takes ``turn`` first.
    """

    def __init__(self, statedir: str | None = None, timeout: float = 0) -> None:
        """``timeout``: seconds until a freeze ends by itself; 0 is never."""
        self._marker = None if statedir is None else os.path.join(statedir, MARKER)
        self.timeout = timeout
        self._subscribers: list[Callable[[bool], None]] = []
        self.turn = Turn()
        self.generation = 0
        self.overdue = False
        self.deadline: float | None = None
        self.frozen = self._marker is not None and self._was_left(self._marker)

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """Have ``callback(frozen)`` called at every change; and now, if the state is frozen."""
        self._subscribers.append(callback)
        if self.frozen:
            callback(True)

    def freeze(self) -> None:
        """Before the first hook runs and the first filesystem is frozen: from here on nothing may be written."""
        log.warning("filesystems are about to be frozen; logging is held until they are thawed")
        self.generation += 1
        self.overdue = False
        self.deadline = self._from_now()
        if self._marker is not None:
            try:
                _write(self._marker, {"boot": _boot_id(), "deadline": self.deadline})
            except OSError as error:
                log.warning("cannot create %s: %s", self._marker, error.strerror)
        self._change(True)

    def thaw(self, *, overdue: bool = False) -> None:
        """After the last filesystem was thawed."""
        self.overdue = overdue
        self.deadline = None
        self._change(False)
        if self._marker is not None:
            try:
                os.unlink(self._marker)
            except FileNotFoundError:
                pass  # it could not be created, or somebody has tidied up
            except OSError as error:
                log.error("cannot remove %s: %s", self._marker, error.strerror)
        log.info("filesystems are thawed")

    @contextlib.contextmanager
    def alone(self, patience: float) -> Iterator[bool]:
        """Keep out every other process that freezes or thaws: one that a killed agent has left behind goes on.

        Waits for it at most ``patience`` seconds, and tells whether it has ended.
        """
        with contextlib.ExitStack() as stack:
            try:
                marker = os.open(self._marker or "", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # there is none, so nobody has frozen anything
                yield True
                return
            stack.callback(os.close, marker)
            yield _lock(marker, patience)

    def _was_left(self, marker: str) -> bool:
        """Whether an agent before this one has left the filesystems frozen, and until when.

        What cannot be looked at counts as frozen: to thaw what is not frozen does no harm, the reverse does. A freeze
        ends with the boot that it was made in.
        """
        self.deadline = self._from_now()
        try:
            with open(marker, "rb") as file:
                left = json.load(file)
            boot, deadline = left["boot"], left["deadline"]
            if not isinstance(deadline, int | float | None):
                raise TypeError
        except FileNotFoundError:
            self.deadline = None
            return False
        except (OSError, ValueError, LookupError, TypeError):  # QEMU's agent leaves an empty one
            return True
        if boot == _boot_id():
            self.deadline = deadline
            return True
        self.deadline = None
        with contextlib.suppress(OSError):
            os.unlink(marker)
        return False

    def _from_now(self) -> float | None:
        return time.monotonic() + self.timeout if self.timeout else None

    def _change(self, frozen: bool) -> None:
        self.frozen = frozen
        for callback in self._subscribers:
            callback(frozen)


def _write(marker: str, content: object) -> None:
    descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(content).encode())
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: float) -> bool:
    """flock(2): the kernel lets go of it when the process has ended."""
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


def _boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
