"""Ask a program: run it to its end, and know how it ended.

The status comes through a pipe from a child that forked the program and waited for it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence

from qga.linux.host import Outcome
from qga.processes.child import close_all_but, leave_the_agent

DEFAULT_TIMEOUT = 60.0  # seconds; a helper that takes longer is taken for hung
KILL_GRACE = 5.0  # seconds that a killed helper gets to be reaped: one in uninterruptible sleep stays
MAX_OUTPUT = 64 * 1024  # bytes kept of a helper's output, its end: it goes into error texts


def ask(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = DEFAULT_TIMEOUT) -> Outcome:
    """Run a program, found through PATH, and wait for its outcome; never raises.

    It runs in a session of its own, with ``stdin`` as its input, and its output is kept. When ``timeout`` (seconds)
    has passed, its whole process group is killed. A process that it leaves behind is not waited for.
    """
    try:
        report, output = os.pipe(), os.pipe()
        source = input_file(stdin)
    except OSError as error:
        return Outcome(errno=error.errno)
    try:
        child = os.fork()
    except OSError as error:
        for descriptor in (*report, *output, source):
            os.close(descriptor)
        return Outcome(errno=error.errno)
    if child == 0:
        _wait_for_grandchild(argv, report[1], source, output[1])
    for descriptor in (report[1], output[1], source):
        os.close(descriptor)
    try:
        return _await_report(child, report[0], output[0], timeout)
    finally:
        os.close(report[0])
        os.close(output[0])


def input_file(data: bytes) -> int:
    """A descriptor to read the data from: a file in memory, so that nobody has to feed it. Raises OSError."""
    if not data:
        return os.open(os.devnull, os.O_RDONLY)
    descriptor = os.memfd_create("stdin")
    with open(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _wait_for_grandchild(argv: Sequence[str], report: int, stdin: int, output: int) -> None:
    """The child: fork the program, tell its pid, wait for it, tell its wait status. Does not return."""
    try:
        leave_the_agent()
        grandchild = os.fork()
        if grandchild == 0:
            _exec(argv, report, stdin, output)
        close_all_but(report)
        os.write(report, b"pid %d\n" % grandchild)
        _, status = os.waitpid(grandchild, 0)
        os.write(report, b"status %d\n" % status)
    except OSError as error:
        os.write(report, b"errno %d\n" % (error.errno or errno.EIO))
    finally:
        os._exit(0)


def _exec(argv: Sequence[str], report: int, stdin: int, output: int) -> None:
    """The grandchild: become the program. Does not return; an exec that fails is told."""
    try:
        os.setsid()
        for source, target in ((stdin, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        close_all_but(report, first=3)
        os.execvp(argv[0], list(argv))
    except OSError as error:
        os.write(report, b"errno %d\n" % (error.errno or errno.EIO))
    finally:
        os._exit(127)


def _await_report(child: int, report: int, output: int, timeout: float) -> Outcome:
    told, said = b"", b""
    timed_out = False
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(report, select.POLLIN)
    poll.register(output, select.POLLIN)
    try:
        while True:
            ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if output in ready:
                data = os.read(output, MAX_OUTPUT)
                said = (said + data)[-MAX_OUTPUT:]
                if not data:
                    poll.unregister(output)
            if report in ready:
                data = os.read(report, 4096)
                told += data
                if not data:
                    break
            elif time.monotonic() >= deadline:
                if timed_out:
                    break
                timed_out = True
                deadline = time.monotonic() + KILL_GRACE
                _kill(_facts(told).get("pid", child))
    except BaseException:  # this process is told to end: the helper goes with it
        _kill(_facts(told).get("pid", child))
        raise
    said = (said + _rest(output))[-MAX_OUTPUT:]
    return _outcome(_facts(told), timeout if timed_out else None, said)


def _facts(told: bytes) -> dict[str, int]:
    """The lines of a report, each complete: pid, errno, status."""
    return {
        key.decode(): int(value)
        for key, value in (line.split() for line in told.splitlines(keepends=True) if line.endswith(b"\n"))
    }


def _outcome(facts: Mapping[str, int], timed_out: float | None, output: bytes) -> Outcome:
    if "errno" in facts:
        return Outcome(errno=facts["errno"])
    if timed_out is not None:
        return Outcome(timeout=timed_out, output=output)
    if "status" not in facts:  # the waiting child itself was killed: nobody knows
        return Outcome(errno=errno.ECHILD)
    status = facts["status"]
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
    """What lies in the pipe now. Its end of file is not waited for: a background process may hold it open."""
    os.set_blocking(output, False)
    try:
        return os.read(output, MAX_OUTPUT)
    except BlockingIOError:
        return b""
