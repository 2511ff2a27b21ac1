"""Run a helper: a program whose outcome the agent needs now.

The status comes through a pipe from an attendant: a child that forks the program, reads its output, and waits for it.
Where the program leaves something behind that goes on writing, the attendant stays and reads on: a database's lock
that is held in the background must not die of SIGPIPE because the agent has read enough.

The report has lines, ``pid N`` and ``errno N``, and ends with ``status N`` and the output.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import NoReturn

from qga.agent.linux.host import Outcome
from qga.agent.processes.child import close_all_but, default_signals, leave_the_agent

DEFAULT_TIMEOUT = 60.0  # seconds; a helper that takes longer is taken for hung
KILL_GRACE = 5.0  # seconds that a killed helper gets to be reaped: one in uninterruptible sleep stays
MAX_OUTPUT = 64 * 1024  # bytes kept of a helper's output, its end: it goes into error texts
LONGEST_WAIT = 86400.0  # seconds; poll(2) counts milliseconds in an int


def run_helper(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = DEFAULT_TIMEOUT) -> Outcome:
    """Run a program, found through PATH, and wait for its outcome; never raises.

    It runs in a session of its own, with ``stdin`` as its input, and its output is kept. When ``timeout`` (seconds)
    has passed, its whole process group is killed. A process that it leaves behind is not waited for.
    """
    with contextlib.ExitStack() as ours:
        try:
            with contextlib.ExitStack() as theirs:
                report, writing = os.pipe()
                ours.callback(os.close, report)
                theirs.callback(os.close, writing)
                source = input_file(stdin)
                theirs.callback(os.close, source)
                attendant = os.fork()
                if attendant == 0:
                    os.close(report)
                    _attend(argv, writing, source)
        except OSError as error:
            return Outcome(errno=error.errno)
        return _await_report(attendant, report, timeout)


def input_file(data: bytes) -> int:
    """Return a descriptor to read the data from: a file in memory, which no process has to fill. Raises OSError."""
    if not data:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    descriptor = os.memfd_create("stdin")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _attend(argv: Sequence[str], report: int, stdin: int) -> NoReturn:
    """Attend a program: fork it, report its pid, and its status when it has ended. Does not return."""
    try:
        leave_the_agent()
        close_all_but(report, stdin, first=3)  # there is room for what follows, however much the agent has open
        os.setsid()  # what ends the agent's terminal must not end it
        output, theirs = os.pipe()
        ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake)
        program = os.fork()
        if program == 0:
            _exec(argv, report, stdin, theirs)
        os.close(theirs)
        os.close(stdin)
        close_all_but(report, output, ended, wake)
        with contextlib.suppress(BrokenPipeError):  # the agent was killed: the program goes on all the same
            os.write(report, b"pid %d\n" % program)
        status, kept = _follow(program, output, ended)
        with contextlib.suppress(BrokenPipeError), open(report, "wb") as pipe:
            pipe.write(b"status %d\n" % status + kept)
        os.set_blocking(output, True)
        while os.read(output, MAX_OUTPUT):
            pass
    except OSError as error:
        os.write(report, b"errno %d\n" % (error.errno or errno.EIO))
    finally:
        os._exit(0)


def _follow(program: int, output: int, ended: int) -> tuple[int, bytes]:
    """Read the program's output until it ends; returns its wait status, and the end of the output."""
    kept = b""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if output in ready:
            data = os.read(output, MAX_OUTPUT)
            kept = (kept + data)[-MAX_OUTPUT:]
            if not data:
                poll.unregister(output)
        if ended in ready:
            os.read(ended, MAX_OUTPUT)
            pid, status = os.waitpid(program, os.WNOHANG)
            if pid:
                return status, (kept + _rest(output))[-MAX_OUTPUT:]


def _exec(argv: Sequence[str], report: int, stdin: int, output: int) -> NoReturn:
    """Become the program. Does not return; an exec that fails is reported."""
    try:
        os.setsid()
        default_signals()
        for source, target in ((stdin, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.close(stdin)
        close_all_but(report, first=3)
        os.execvp(argv[0], list(argv))
    except OSError as error:
        os.write(report, b"errno %d\n" % (error.errno or errno.EIO))
    finally:
        os._exit(127)


def _await_report(attendant: int, report: int, timeout: float) -> Outcome:
    text = b""
    timed_out = False
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(report, select.POLLIN)
    try:
        while True:
            left = deadline - time.monotonic()
            if poll.poll(min(max(0.0, left), LONGEST_WAIT) * 1000):
                data = os.read(report, MAX_OUTPUT)
                text += data
                if not data:
                    break
            elif time.monotonic() >= deadline:
                if timed_out:
                    break
                timed_out = True
                deadline = time.monotonic() + KILL_GRACE
                _kill(_parse(text)[0].get(b"pid", attendant))
    except BaseException:  # this process ends: the helper goes with it
        _kill(_parse(text)[0].get(b"pid", attendant))
        raise
    return _outcome(text, timeout if timed_out else None)


def _parse(report: bytes) -> tuple[dict[bytes, int], bytes]:
    """Return the facts of the complete lines of a report, by their keys, and the output that follows the status."""
    facts: dict[bytes, int] = {}
    while b"\n" in report and b"status" not in facts:
        line, _, report = report.partition(b"\n")
        key, _, value = line.partition(b" ")
        facts[key] = int(value)
    return facts, report if b"status" in facts else b""


def _outcome(report: bytes, timed_out: float | None) -> Outcome:
    facts, output = _parse(report)
    if b"errno" in facts:
        return Outcome(errno=facts[b"errno"])
    if timed_out is not None:
        return Outcome(timeout=timed_out, output=output)
    if b"status" not in facts:  # the attendant itself was killed: the status is not known
        return Outcome(errno=errno.ECHILD)
    status = facts[b"status"]
    if os.WIFSIGNALED(status):
        return Outcome(signal=os.WTERMSIG(status), output=output)
    return Outcome(status=os.waitstatus_to_exitcode(status), output=output)


def _kill(leader: int) -> None:
    """Kill the process group of a helper, or the helper alone if it had no time to become a leader."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)


def _rest(output: int) -> bytes:
    """Return what lies in the pipe now, without waiting for its end: a background process may hold it open."""
    os.set_blocking(output, False)
    try:
        return os.read(output, MAX_OUTPUT)
    except BlockingIOError:
        return b""
