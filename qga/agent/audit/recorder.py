"""The recorder: it writes records into a sink, now or later.

The rule it keeps: it never blocks the agent, and a record of its own reports how many records were lost. Records wait
in memory (backlog.py) while filesystems are frozen, a disk is full or journald is slower than the host, and are
written as soon as there is room, without a further request.
"""

from __future__ import annotations

import errno
import logging
import select
import time
from collections import Counter
from collections.abc import Callable

from qga.agent.audit.backlog import Backlog, Record
from qga.agent.audit.sinks import Later, Moved, Sink
from qga.agent.loop import WRITE, Loop, Timer

log = logging.getLogger(__name__)

RETRY = 1.0  # seconds until a sink that failed is tried again; then twice as long, and again
MAX_RETRY = 60.0
LOST_EVERY = 1.0  # seconds between two records of what was lost, while it goes on
QUIET = 60.0  # seconds between two log lines about records lost because there are too many
LAST_WAIT = 2.0  # seconds that the end of the agent waits for journald; then as long for the count of the rest

_GONE = "written to the file that was removed"
_SLOW = OSError(errno.EAGAIN, "records come faster than it takes them, those left out are counted")


class Recorder:
    """The owner of the sink, and of the records that wait for it.

    ``numbered`` makes a record of an event's name and members. ``on_failure`` is called with True when the sink
    fails, and with False when it works again.
    """

    def __init__(
        self, loop: Loop, sink: Sink, numbered: Callable[..., dict[str, object]], on_failure: Callable[[bool], None]
    ) -> None:
        self._loop = loop
        self._sink = sink
        self._numbered = numbered
        self._on_failure = on_failure
        self._backlog = Backlog()
        self._loss: dict[str, object] | None = None  # the record of what was lost, until it is written
        self._loss_written = 0.0
        self._frozen = False
        self._failing = False
        self._reported = False  # the failure stands in the log
        self._quiet_until = 0.0
        self._usable = False  # the sink took the latest record
        self._full = False  # it had no room for it
        self._waiting = False  # the loop will call _go_on()
        self._watched: int | None = None  # the sink's descriptor, until there is room
        self._timer: Timer | None = None
        self._pause = RETRY
        self._closing = False  # the loop has ended, so no record may wait for it

    def write(self, kind: str, record: Record) -> None:
        """Write a record now or later. ``kind`` is one of a few, each with its share of the backlog."""
        if self._frozen or self._waiting:
            self._keep(kind, record)
        elif self._backlog:
            self._keep(kind, record)
            self._flush()
        elif not self._written(kind, record):
            self._keep(kind, record)
        elif self._failing or self._backlog.lost:
            self._flush()

    def on_freeze(self, frozen: bool) -> None:
        """Hold the records while filesystems are frozen, and write them after the thaw."""
        self._frozen = frozen
        self._stop_waiting()
        if not frozen:
            self._flush()

    def reopen(self, sink: Sink | None = None) -> None:
        """Open the sink again after its file was rotated, or switch to another sink."""
        self._stop_waiting()
        self._sink.close()
        self._sink = sink or self._sink
        if not self._frozen:
            try:
                self._sink.open()
            except OSError as error:
                self._fail(error)
                self._try_in(self._pause)
            else:
                self._flush()

    def close(self) -> None:
        """Write the records that still wait, for up to LAST_WAIT seconds, then a count of those that are lost."""
        self._stop_waiting()
        self._closing = True
        self._sink.hurry()
        if not self._frozen:
            self._finish(lambda: not self._backlog)
        self._backlog.give_up()
        if missing := sum(self._backlog.lost.values()):
            log.error("the agent ends, and %d records are missing from the audit log %s", missing, self._sink.name)
            self._sink.hurry()
            if not self._frozen:
                self._finish(lambda: not self._backlog.lost)
        self._sink.close()

    def _finish(self, finished: Callable[[], bool]) -> None:
        """Write the records that wait, until ``finished()`` or for LAST_WAIT seconds."""
        deadline = time.monotonic() + LAST_WAIT
        while True:
            self._flush()
            left = deadline - time.monotonic()
            descriptor = self._sink.fileno()
            if finished() or not self._full or left <= 0 or descriptor is None:
                return
            room = select.poll()
            room.register(descriptor, select.POLLOUT)
            room.poll(left * 1000)

    def _keep(self, kind: str, record: Record) -> None:
        if not self._backlog.add(kind, record) and not self._frozen:
            self._fail(_SLOW)

    def _flush(self) -> None:
        """Write the records that wait, the oldest first, until there is no room."""
        while self._backlog:
            if not self._written(*self._backlog.first()):
                return
            self._backlog.remove_first()
        if self._write_lost() and self._failing and self._usable:
            self._failing = False
            if self._reported:
                log.warning("the audit log %s can be written again", self._sink.name)
            self._on_failure(False)

    def _write_lost(self) -> bool:
        """Write how many records were left out, if any were, and return False if that is not possible now."""
        lost = Counter(self._backlog.lost)
        if not lost:
            return True
        if self._loss is None:
            self._loss = self._numbered("lost")
        if not self._written("lost", {**self._loss, "count": sum(lost.values()), "commands": {**lost}}):
            return False
        if not self._usable:  # this record can never be written; the next one may be shorter
            del self._backlog.lost["lost"]
            return False
        self._backlog.lost -= lost
        self._loss, self._loss_written = None, time.monotonic()
        return True

    def _written(self, kind: str, record: Record) -> bool:
        """Write a record, and return False if it has to wait.

        Returns True also for a record that can never be written, which is counted as lost.
        """
        self._usable = self._full = False
        try:
            self._sink.write(record)
        except Moved as moved:
            log.warning("the audit log %s: %s, a new one is begun", self._sink.name, moved.strerror)
            if moved.gone:
                self._backlog.lost[_GONE] += moved.gone
            return self._written(kind, record)
        except Later as later:
            self._try_in(later.seconds)
            self._waiting = not self._closing
            return False
        except BlockingIOError:
            self._full = True
            self._watch()
            return False
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._backlog.lost[kind] += 1
                return True
            self._fail(error)
            if self._timer is None:
                self._try_in(self._pause)
                self._pause = min(2 * self._pause, MAX_RETRY)
            return False
        except Exception as bug:  # it must not keep all later records from being written
            log.error("the audit log has no record of %s: %s", kind, type(bug).__name__)
            self._backlog.lost[kind] += 1
            return True
        self._usable = True
        self._pause = RETRY
        return True

    def _fail(self, error: OSError) -> None:
        if self._failing:
            return
        self._failing = True
        self._reported = error is not _SLOW or time.monotonic() >= self._quiet_until
        if self._reported:
            self._quiet_until = time.monotonic() + QUIET
            log.error("the audit log %s cannot be written: %s", self._sink.name, error.strerror)
        self._on_failure(True)

    def _watch(self) -> None:
        descriptor = self._sink.fileno()
        if not self._closing and descriptor is not None and self._watched is None:
            self._loop.watch(descriptor, WRITE, lambda events: self._go_on())
            self._watched, self._waiting = descriptor, True

    def _try_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closing:
            self._timer = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._stop_waiting()
        if not self._frozen:
            if time.monotonic() >= self._loss_written + LOST_EVERY:
                self._write_lost()
            if not self._waiting:
                self._flush()

    def _stop_waiting(self) -> None:
        if self._watched is not None:
            self._loop.forget(self._watched)
        if self._timer is not None:
            self._timer.cancel()
        self._watched = self._timer = None
        self._waiting = False
