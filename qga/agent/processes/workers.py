"""Work that may take long, in a forked worker beside the loop. Its result comes to the coroutine that awaits it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, NoReturn, TypeVar

from qga.agent.loop import READ, Loop
from qga.agent.processes.child import (
    NotStartedError,
    WorkerDiedError,
    close_all_but,
    fork,
    leave_the_agent,
    read_result,
    read_to_end,
    signal_at_end_of,
    write_result,
)
from qga.agent.tasks import Pending
from qga.protocol.errors import CommandError

T = TypeVar("T")

DEFAULT_LIMIT = 600.0  # seconds that a worker may take; each helper that it runs is bounded by itself
END_GRACE = 5.0  # seconds that one gets to clean up, and again to die: the kernel may hold it in a call
MAX_WORKERS = 16  # at a time: they are slow commands whose clients have given up

_CHUNK = 64 * 1024  # bytes read at a time
_WHO = "the process that carried it out"


class _EndedError(BaseException):
    """SIGTERM has come: the worker ends, and undoes what it has begun on the way out."""


class Workers:
    """Runs work that may take long in forked workers: ``await workers(work)``."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running: dict[int, _Worker] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __call__(
        self, work: Callable[[], T], limit: float = DEFAULT_LIMIT, orphaned: int | None = None
    ) -> Pending[T]:
        """Carry out ``work`` in a worker, which has nothing of the agent's open; its result must suit marshal.

        ``orphaned`` is the signal that ends it when the agent has ended before it: SIGTERM, and it undoes what it
        has begun, or SIGKILL. Without one it lives on: what was begun is carried out. The result fails with
        CommandError: the one that ``work`` raised, or that the worker died or took longer than ``limit`` (seconds), a
        WorkerDiedError; or a NotStartedError.
        """
        pending: Pending[T] = Pending()
        try:
            self._start(work, limit, orphaned, pending)
        except CommandError as error:
            pending.fail(error)
        return pending

    def wait(self, work: Callable[[], T], limit: float) -> T:
        """Carry out ``work`` after the loop has ended, and wait. Workers that end with the agent are ended first.

        A worker that takes longer than ``limit`` (seconds) lives on. Raises CommandError.
        """
        for worker in self._running.values():
            worker.end_with_agent()
        _, report = fork(partial(_be_worker, work, None, os.getpid()))
        try:
            text = read_to_end(report, limit)
        except TimeoutError:
            raise WorkerDiedError(f"it is not over after {limit:g} s, and goes on without the agent") from None
        finally:
            os.close(report)
        result: T = read_result(text, _WHO)
        return result

    def _start(self, work: Callable[[], T], limit: float, orphaned: int | None, pending: Pending[T]) -> None:
        if len(self._running) >= MAX_WORKERS:
            raise NotStartedError(f"{MAX_WORKERS} slow commands are under way already")
        child, report = fork(partial(_be_worker, work, orphaned, os.getpid()))
        try:
            self._running[child] = _Worker(self._loop, child, report, limit, orphaned, pending)
        except OSError as error:  # the kernel has no room for another watch
            os.close(report)
            os.kill(child, signal.SIGKILL)
            raise WorkerDiedError(f"a slow command cannot be waited for: {error.strerror}") from error
        pending.then(partial(self._running.__delitem__, child))


class _Worker:
    """The agent's side of one worker: reads its report, ends it when its time is up."""

    def __init__(
        self, loop: Loop, pid: int, report: int, limit: float, orphaned: int | None, pending: Pending[Any]
    ) -> None:
        self._loop = loop
        self._pid = pid
        self._report = report
        self._limit = limit
        self._orphaned = orphaned
        self._pending = pending
        self._read = bytearray()
        self._timed_out = False
        self._ends = iter((signal.SIGTERM, signal.SIGKILL))
        loop.watch(report, READ, self._on_readable)
        self._timer = loop.call_later(limit, self._on_limit)

    def end_with_agent(self) -> None:
        """Send the worker the signal ``orphaned``, if it has one."""
        if self._orphaned is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, self._orphaned)

    def _on_readable(self, events: int) -> None:
        data = os.read(self._report, _CHUNK)
        self._read += data
        if not data:
            self._settle()

    def _on_limit(self) -> None:
        self._timed_out = True
        number = next(self._ends, None)
        if number is None:  # in a call that the kernel does not return from
            self._settle()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)
        self._timer = self._loop.call_later(END_GRACE, self._on_limit)

    def _settle(self) -> None:
        self._timer.cancel()
        self._loop.forget(self._report)
        os.close(self._report)
        try:
            result = read_result(bytes(self._read), _WHO)
        except WorkerDiedError as error:
            self._pending.fail(WorkerDiedError(f"timed out after {self._limit:g} s") if self._timed_out else error)
        except CommandError as error:
            self._pending.fail(error)
        else:
            self._pending.resolve(result)


def _be_worker(work: Callable[[], Any], orphaned: int | None, agent: int, report: int) -> NoReturn:
    """Do the work of the child. Does not return."""
    try:
        leave_the_agent()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects its children: sigaction(2)
        close_all_but(report, *range(3))
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        os.close(null)
        signal.signal(signal.SIGTERM, _end)
        if orphaned is not None:
            signal_at_end_of(agent, orphaned)
        write_result(report, work)
    finally:
        os._exit(0)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _EndedError
