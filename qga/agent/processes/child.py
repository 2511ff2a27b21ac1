"""What every forked child does: release everything of the agent's, and return its result through a pipe."""

from __future__ import annotations

import contextlib
import logging
import marshal
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from qga.protocol.errors import CommandError, describe_bug

log = logging.getLogger(__name__)

_CHUNK = 64 * 1024  # bytes read at a time
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# All whose disposition a process can change: signal(7). Python ignores two of them, the agent handles some, and what
# started the agent may have ignored any.
CHANGEABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}

MAX_UNLISTED = 65536  # descriptors that are looked for one by one

_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)  # ignored by Python, which makes an OSError of what they say


class NotStartedError(CommandError):
    """The process for the work could not be created; none of the work was done."""


class WorkerDiedError(CommandError):
    """The process ended before it reported a result. It is not known how much of its work it did."""


def fork(child: Callable[[int], NoReturn]) -> tuple[int, int]:
    """Fork, and call ``child(report)`` in the child; return its pid and a descriptor to read its report from.

    Raises NotStartedError.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise NotStartedError("cannot create pipe FDs") from error
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise NotStartedError(f"failed to create child process: {error.strerror}") from error
    if pid == 0:
        os.close(reading)
        child(writing)
    os.close(writing)
    return pid, reading


def leave_the_agent() -> None:
    """Give a child that goes on in Python signals of its own: none may write to the agent's wake-up pipe."""
    signal.set_wakeup_fd(-1)
    for number in CHANGEABLE.difference(_PYTHONS):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def default_signals() -> None:
    """Set every signal to its default and block none, before an exec."""
    for number in CHANGEABLE:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def close_all_but(*kept: int, first: int = 0) -> None:
    """Close all descriptors from ``first`` on but those ``kept``: a child holds no channel or socket of the agent."""
    for descriptor in _open_descriptors():
        if descriptor >= first and descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def keep_descriptors() -> None:
    """Let no program inherit the descriptors that this process was started with, beyond its standard streams."""
    for descriptor in _open_descriptors():
        if descriptor > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(descriptor, False)


def _open_descriptors() -> Iterable[int]:
    """Return the open descriptors, and perhaps some that are closed, such as the one used for the listing.

    RLIMIT_NOFILE is not a bound: it may have been lowered since, or be a billion. The listing needs a descriptor.
    """
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # no procfs
        return range(min(os.sysconf("SC_OPEN_MAX"), MAX_UNLISTED))


def signal_at_end_of(parent: int, number: int) -> None:
    """Have the kernel send this process a signal when its parent, process ``parent``, has ended: prctl(2).

    The agent has no threads; otherwise the signal would also be sent when the thread that forked ends.
    """
    import ctypes  # here: the agent itself does without

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call
        os.kill(os.getpid(), number)


def write_result(report: int, work: Callable[[], Any]) -> None:
    """Carry out ``work`` and write a report: what was logged, and its result, which must suit marshal."""
    records = _Records()
    logging.getLogger().handlers[:] = [records]
    failure, result = None, None
    try:
        result = work()
    except CommandError as error:
        failure = str(error)
    except Exception as error:
        failure = describe_bug(error)
        log.error("%s", failure)
    with open(report, "wb") as pipe:
        marshal.dump((records.kept, failure, result), pipe)


def read_result(report: bytes, who: str) -> Any:
    """Return the result that a child has reported, and log what it has logged.

    Raises CommandError: the one that its work raised, or a WorkerDiedError where the report is not complete.
    """
    try:
        records, failure, result = marshal.loads(report)  # noqa: S302, only a fork of the agent writes to that pipe
    except (EOFError, ValueError, TypeError):
        raise WorkerDiedError(f"{who} ended without a result") from None
    for name, level, text in records:
        logging.getLogger(name).log(level, "%s", text)
    if failure is not None:
        raise CommandError(failure)
    return result


def read_to_end(descriptor: int, timeout: float) -> bytes:
    """Return what is written to a pipe until its last writer closes it, within ``timeout`` seconds.

    Raises TimeoutError.
    """
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    text = bytearray()
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(descriptor, _CHUNK)
        if not data:
            return bytes(text)
        text += data
    raise TimeoutError


class _Records(logging.Handler):
    """Collects log records for the agent, which knows when and where they may be written."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, int, str]] = []  # logger, level, text

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.name, record.levelno, record.getMessage()))
