"""The only place that forks: ask a program for its exit status, work as a user, spawn what lives on, reap the dead.

``ask`` waits for a program whose outcome is needed now. Its status comes through a pipe from a child that forked
it and waited for it, so it never depends on who reaps whom. ``Children`` spawns programs that live beside the
agent and collects every dead child when the loop says that SIGCHLD came: the status of a spawned one is handed to
whoever spawned it, any other (the children of ``ask`` and ``run_as``) is discarded. Nothing else waits for a child.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pwd import struct_passwd
from typing import NoReturn

from qga.errors import CommandError
from qga.linux.host import Outcome

DEFAULT_TIMEOUT = 60.0  # seconds; a helper that takes longer is taken for hung
KILL_GRACE = 5.0  # seconds that a killed helper gets to be reaped: one in uninterruptible sleep stays
MAX_OUTPUT = 64 * 1024  # bytes kept of a helper's output, its end: it goes into error texts

_DONE, _FAILED = b"done", b"failed"  # the verdicts of work as a user
_RESET_SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


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
        _leave_the_agent()
        grandchild = os.fork()
        if grandchild == 0:
            _exec(argv, report, stdin, output)
        _close_all_but(report)
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
        _close_all_but(report, first=3)
        os.execvp(argv[0], list(argv))
    except OSError as error:
        os.write(report, b"errno %d\n" % (error.errno or errno.EIO))
    finally:
        os._exit(127)


def _leave_the_agent() -> None:
    """Signals of this process must neither write to the agent's wake-up pipe nor be ignored by the program."""
    signal.set_wakeup_fd(-1)
    for number in _RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _close_all_but(descriptor: int, first: int = 0) -> None:
    """Neither child holds anything of the agent's open: not its channel, not its sockets."""
    os.closerange(first, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def _await_report(child: int, report: int, output: int, timeout: float) -> Outcome:
    told, said = b"", b""
    timed_out = False
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(report, select.POLLIN)
    poll.register(output, select.POLLIN)
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


def run_as(user: struct_passwd, work: Callable[[], bytes], timeout: float = DEFAULT_TIMEOUT) -> bytes:
    """Carry out ``work`` in a child that is this user, with the user's groups, and return its result.

    The child has nothing of the agent's open and the umask 077; when ``timeout`` (seconds) has passed, it is killed.
    Raises CommandError: the one that ``work`` raised, or why there is no result.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise CommandError("cannot create pipe FDs") from error
    try:
        child = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise CommandError(f"failed to create child process: {error.strerror}") from error
    if child == 0:
        _work_as(user, work, writing)
    os.close(writing)
    try:
        told = _read_to_end(reading, timeout)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        raise CommandError(f"work as user '{user.pw_name}' timed out after {timeout:g} s") from None
    finally:
        os.close(reading)
    head, _, result = told.partition(b"\n")
    verdict, _, size = head.partition(b" ")
    if size != b"%d" % len(result):  # it was killed before it had told all
        raise CommandError(f"work as user '{user.pw_name}' ended without a result")
    if verdict == _FAILED:
        raise CommandError(result.decode(errors="surrogatepass"))
    return result


def _work_as(user: struct_passwd, work: Callable[[], bytes], report: int) -> NoReturn:
    """The child: become the user, work, tell verdict, length and result. Does not return."""
    try:
        _leave_the_agent()
        _close_all_but(report)
        verdict, result = _DONE, b""
        try:
            _become(user)
            result = work()
        except CommandError as error:
            verdict, result = _FAILED, str(error).encode(errors="surrogatepass")
        except Exception as error:
            text = f"internal error: {type(error).__name__}: {error}"
            verdict, result = _FAILED, text.encode(errors="surrogatepass")
        with open(report, "wb") as pipe:
            pipe.write(b"%s %d\n%s" % (verdict, len(result), result))
    finally:
        os._exit(0)


def _become(user: struct_passwd) -> None:
    """For good, and all of it: nothing of what the agent may do is left. The groups are of use for NFS.

    The kernel lets no other process of the user look into one that was root: prctl(2), PR_SET_DUMPABLE.
    """
    os.umask(0o077)
    if os.getresuid() == (user.pw_uid,) * 3:
        return
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(*(user.pw_gid,) * 3)
        os.setresuid(*(user.pw_uid,) * 3)
    except OSError as error:
        raise CommandError(f"cannot become user '{user.pw_name}': {error.strerror}") from error


def _read_to_end(descriptor: int, timeout: float) -> bytes:
    """Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    told = bytearray()
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(descriptor, MAX_OUTPUT)
        if not data:
            return bytes(told)
        told += data
    raise TimeoutError


class Children:
    """The programs that the agent spawned and has not seen end."""

    def __init__(self) -> None:
        self._on_exit: dict[int, Callable[[int], None]] = {}

    def __len__(self) -> int:
        return len(self._on_exit)

    def spawn(
        self,
        path: str | bytes,
        argv: list[str] | list[bytes],
        env: Mapping[str, str] | Mapping[bytes, bytes],
        stdio: tuple[int, int, int],
        on_exit: Callable[[int], None],
    ) -> int:
        """Start a program with these three descriptors as its standard ones; returns its pid.

        ``on_exit`` gets its wait status (waitpid(2)) when it has been reaped. Raises OSError if it cannot be started.
        """
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(stdio)]
        pid = os.posix_spawn(path, argv, env, file_actions=actions, setsigdef=_RESET_SIGNALS, setsigmask=())
        self._on_exit[pid] = on_exit
        return pid

    def reap(self) -> None:
        """Collect every dead child, until there is none."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._on_exit.pop(pid, _discard)(status)


def _discard(status: int) -> None:
    """The status of a child of ``ask`` or ``run_as``: it told all it knew before it ended."""
