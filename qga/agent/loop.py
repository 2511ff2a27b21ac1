"""The event loop: waits for descriptors, signals and timers, and runs their callbacks. It knows nothing of protocols.

Signal handlers only record the signal: the interpreter writes a byte to the wake-up pipe, which ends the wait, and
the loop runs the callback. Without timers the loop sleeps until something happens: an idle agent never wakes up.

A callback that raises does not end the loop, since other callbacks rely on it: the error is logged, and the
descriptor is not watched for a while, because it would be ready again at once.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)

FAULT_PAUSE = 1.0  # seconds that a descriptor is not watched after its callback has raised
MAX_REPORTED = 200  # characters of an error's text

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
EDGE = select.EPOLLET
HANGUP = select.EPOLLHUP

LONGEST_WAIT = 86400.0  # seconds; epoll_wait(2) counts milliseconds in an int


class Timer:
    """A call that will be made once, unless it is cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Cancel the call, unless it has already been made."""
        self._callback = None

    @property
    def cancelled(self) -> bool:
        """Whether the call will not be made: it was cancelled, or has already been made."""
        return self._callback is None

    def fire(self) -> None:
        """Make the call now, unless it was cancelled or has already been made."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Loop:
    """The process's only event loop. As a context manager it closes itself and restores the signal handlers."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Callable[[int], None], int]] = {}  # callback, and for which events
        self._paused: dict[int, Timer] = {}  # those of _watched whose watching is paused
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()  # timers of the same moment fire in the order they were set
        self._signals: dict[int, Callable[[], None]] = {}
        self._previous: dict[int, object] = {}
        self._arrived: set[int] = set()
        self._stopped = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wake_read, READ, self._on_wake)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the loop's own descriptors and restore the previous signal handlers."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def watch(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        """Call ``callback`` with the events that occur (a mask of READ, WRITE, HANGUP, …), whenever they do.

        Level-triggered unless ``events`` has EDGE.
        """
        if descriptor in self._watched and not self._end_pause(descriptor):
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watched[descriptor] = callback, events

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor; to be called before it is closed. Does nothing if it is not watched."""
        if self._watched.pop(descriptor, None) is not None and not self._end_pause(descriptor):
            self._epoll.unregister(descriptor)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once, in ``delay`` seconds of CLOCK_MONOTONIC."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), timer))
        return timer

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` from the loop after a signal arrives; several of the same signal may count as one."""
        self._signals[number] = callback
        self._previous.setdefault(number, signal.signal(number, self._record))
        signal.siginterrupt(number, False)

    def stop(self) -> None:
        """Make ``run`` return after the callbacks that are due."""
        self._stopped = True

    def run(self) -> None:
        """Wait for events and run their callbacks until ``stop`` is called."""
        while not self._stopped:
            for descriptor, events in self._epoll.poll(self._wait()):
                if descriptor in self._watched and descriptor not in self._paused:
                    callback, _ = self._watched[descriptor]
                    try:
                        callback(events)
                    except Exception as error:
                        _report(error)
                        self._pause(descriptor)
            if self._timers:
                self._fire()

    def _wait(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return min(max(0.0, self._timers[0][0] - time.monotonic()), LONGEST_WAIT) if self._timers else None

    def _fire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _call(heapq.heappop(self._timers)[2].fire)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self._arrived.add(number)

    def _on_wake(self, events: int) -> None:
        os.read(self._wake_read, 4096)
        while self._arrived:
            _call(self._signals[self._arrived.pop()])

    def _pause(self, descriptor: int) -> None:
        """Stop watching a descriptor for FAULT_PAUSE; ``watch`` and ``forget`` end the pause earlier."""
        if descriptor in self._watched:
            callback, events = self._watched[descriptor]
            try:
                self._epoll.unregister(descriptor)
            except OSError:  # it is closed, and its number may soon be reused
                del self._watched[descriptor]
                return
            self._paused[descriptor] = self.call_later(FAULT_PAUSE, lambda: self.watch(descriptor, events, callback))

    def _end_pause(self, descriptor: int) -> bool:
        """End the pause of a descriptor; return whether it was paused."""
        timer = self._paused.pop(descriptor, None)
        if timer is not None:
            timer.cancel()
        return timer is not None


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception as error:
        _report(error)


def _report(error: Exception) -> None:
    log.error("internal error: %s: %s", type(error).__name__, str(error)[:MAX_REPORTED])
    log.debug("it was raised here:", exc_info=error)
