"""A system call that may never return, made in a separate process, which the agent can give up on.

A process in such a call cannot be ended, not even by SIGKILL. The rule it keeps: the process has nothing open but its
report and the descriptors in ``keep``, and does not begin a call that the agent has already given up on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Generic, NoReturn, TypeVar

from qga.agent.processes.child import close_all_but, fork, read_result, write_result

T = TypeVar("T")

_CHUNK = 64 * 1024  # bytes read at a time
# It has something to undo, perhaps late. These are all that the agent handles; each one more costs time.
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD)


class ForkedAttempt(Generic[T]):
    """A call that has begun in a separate process. ``descriptor`` becomes readable when the process has answered."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor: int | None = descriptor

    def answer(self) -> T:
        """Wait for the answer and return it. Raises CommandError: the one of its work, or that its process died."""
        assert self.descriptor is not None
        report = bytearray()
        while data := os.read(self.descriptor, _CHUNK):
            report += data
        self.give_up()
        result: T = read_result(bytes(report), "the process that made a system call")
        return result

    def give_up(self) -> None:
        """Stop waiting: if the call ever returns, its process undoes what it has done."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def begin(work: Callable[[], AbstractContextManager[T]], keep: Sequence[int] = ()) -> ForkedAttempt[T]:
    """Enter ``work`` in a process of its own, which keeps the descriptors ``keep`` open; its value must suit marshal.

    Where its answer is not read any more, it is left by BrokenPipeError, and has to undo what it did. Raises
    NotStartedError.
    """
    _, reading = fork(partial(_carry_out, work, keep))
    return ForkedAttempt(reading)


def _carry_out(work: Callable[[], AbstractContextManager[T]], keep: Sequence[int], report: int) -> NoReturn:
    """Do the work of the child. Does not return."""
    try:
        signal.set_wakeup_fd(-1)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        close_all_but(report, *keep)
        if not _has_no_reader(report):
            with contextlib.ExitStack() as stack:
                write_result(report, lambda: stack.enter_context(work()))
    finally:
        os._exit(0)


def _has_no_reader(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)  # an error is reported unasked: poll(2), POLLERR
    return bool(poll.poll(0))
