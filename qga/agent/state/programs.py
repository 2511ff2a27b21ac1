"""The programs that guest-exec started: their output and exit status, until the host has fetched them.

A program counts as exited when it was reaped and no process holds its output open any more. Results that no host
fetches are dropped: the oldest first when there are too many, and all of them after an hour. A program that the
policy no longer allows is revoked: it is ended, and nothing is reported about it from then on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qga.agent.linux.cstring import c_string
from qga.agent.linux.execvp import candidates
from qga.agent.loop import READ, Loop
from qga.agent.processes import Children, ProcessTree, input_file
from qga.protocol.errors import CommandError

if TYPE_CHECKING:
    from qga.agent.linux.pathwalk import Target

MAX_OUTPUT = 16 * 1024 * 1024  # bytes kept of each stream, as in QEMU; the rest is read and discarded
MAX_FINISHED = 256  # programs that have ended and whose status was not fetched
MAX_KEPT = 64 * 1024 * 1024  # bytes of output that they may hold; the newest is kept even beyond that
MAX_AGE = 3600.0  # seconds that a program's result is kept
MAX_ARGUMENTS = 16 * 1024  # characters; longer arguments are not kept for the review by a new policy
GRACE = 5.0  # seconds from SIGTERM to SIGKILL

# Errors at which execvp(3) tries the next directory of PATH; E2BIG, for one, is not among them.
_TRIES_THE_NEXT = (errno.EACCES, errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ENODEV, errno.ETIMEDOUT)
_F_SETPIPE_SZ = 1031  # fcntl(2); Python 3.9 does not name it
_PIPE_SIZE = 1024 * 1024  # bytes, the most that an unprivileged process may set: programs wait less
_READ_SIZE = 256 * 1024  # bytes at a time, so that one program's output does not hold up the rest


class Capture(NamedTuple):
    """Which streams are kept; ``merged``: standard error goes where standard output goes."""

    out: bool = False
    err: bool = False
    merged: bool = False


NOTHING = Capture()


class Output:
    """One captured stream: its first MAX_OUTPUT bytes at most, and whether there was more."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0
        self.truncated = False

    def add(self, data: bytes, room: int) -> int:
        """Keep as much of ``data`` as fits into ``room`` bytes; return how many bytes were kept."""
        kept = data[: max(0, min(MAX_OUTPUT - self.size, room))]
        self.truncated |= len(kept) < len(data)
        if kept:
            self._pieces.append(kept)
            self.size += len(kept)
        return len(kept)

    def data(self) -> bytes:
        """Return the bytes that were kept."""
        return b"".join(self._pieces)


class Program:
    """A program. ``status`` is its wait status (waitpid(2)), once it was reaped; ``open`` are its open pipes.

    ``arguments`` are those of guest-exec, None where they have more than MAX_ARGUMENTS characters. ``file`` is the
    path of what was executed, without links. ``ending`` is set once it was revoked while running.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments if _size(arguments) <= MAX_ARGUMENTS else None
        self.file = ""
        self.ending: ProcessTree | None = None
        self.pid = 0
        self.out = Output()
        self.err = Output()
        self.status: int | None = None
        self.open: set[int] = set()
        self.ended = 0.0

    @property
    def exited(self) -> bool:
        """Whether it was reaped, and every process that could write to its pipes has closed them."""
        return self.status is not None and not self.open


class Programs:
    """The programs that were started and not fetched yet. The loop reads their output, ``children`` reaps them."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        on_exit: Callable[[int, int], None],
        max_running: int = 0,
        max_captured: int = 0,
    ) -> None:
        """``on_exit`` is called with a program's pid and its exit status, or minus the signal that killed it.

        At most ``max_running`` programs may run at a time, and at most ``max_captured`` bytes of output are kept for
        all programs together; 0 means no limit.
        """
        self._loop, self._children, self._on_exit = loop, children, on_exit
        self.limit(max_running, max_captured)
        self._captured = 0
        self._programs: list[Program] = []  # in the order of their start
        self._ending: list[Program] = []  # revoked less than GRACE ago; some may already be reaped and forgotten
        self._expiring = False

    def limit(self, max_running: int, max_captured: int) -> None:
        """Set how many programs may run, and how many bytes of output are kept in all; 0 means no limit."""
        self._max_running = max_running
        self._max_captured = max_captured or sys.maxsize

    def start(
        self,
        argv: list[bytes],
        env: Mapping[bytes, bytes],
        stdin: bytes | None = None,
        capture: Capture = NOTHING,
        target: Target | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> int:
        """Start a program; returns its pid. Raises OSError if it cannot be started.

        A name without a slash is searched in PATH, of ``env`` or else the agent's. With a ``target``, that file is
        executed, and its path becomes argv[0]. ``stdin`` is the program's whole input; None means /dev/null.
        ``arguments`` are those of the request. Raises CommandError if too many programs are running.
        """
        if self._max_running and sum(not program.exited for program in self._programs) >= self._max_running:
            raise CommandError(f"{self._max_running} programs are running already (max-execs): wait for one to end")
        if target is None:
            files = candidates(argv[0], env)
        elif target.error is not None:
            raise target.error
        else:
            # A program whose behaviour depends on its name must behave as the file that the rule allows.
            files, argv = [target.as_path], [c_string(target.path or ""), *argv[1:]]
        program = Program(arguments or {})
        theirs: list[int] = []
        ours: dict[int, Output] = {}
        try:
            null = _keep(theirs, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            source = null if stdin is None else _keep(theirs, input_file(stdin))
            out = err = null
            if capture.out:
                out = _pipe(theirs, ours, program.out)
            if capture.err:
                err = out if capture.merged else _pipe(theirs, ours, program.err)
            for descriptor, output in ours.items():
                self._watch(program, descriptor, output)
            program.pid = self._spawn(files, argv, env, (source, out, err), target, program)
        except BaseException:
            for descriptor in ours:
                self._loop.forget(descriptor)
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._programs.append(program)
        program.open = set(ours)
        return program.pid

    def find(self, pid: int) -> Program | None:
        """Return the program with this pid that was neither forgotten nor revoked, or None."""
        return next((program for program in self.started() if program.pid == pid), None)

    def started(self) -> list[Program]:
        """Return the programs whose status a host may fetch."""
        return [program for program in self._programs if program.ending is None]

    def revoke(self, program: Program) -> None:
        """End a program with all processes that it started: SIGTERM, then SIGKILL after GRACE. Forget its status."""
        if program.status is not None:
            self._close_pipes(program)
            self.forget(program)
            return
        program.ending = ProcessTree(program.pid)
        program.ending.signal(signal.SIGTERM)
        self._ending.append(program)
        self._loop.call_later(GRACE, lambda: self._kill(program))

    def close(self) -> None:
        """Kill the revoked programs when the agent ends; all others continue to run."""
        for program in [*self._ending]:
            self._kill(program)

    def _kill(self, program: Program) -> None:
        """Kill the remaining processes of a revoked program."""
        if program.ending is None or program not in self._ending:
            return
        self._ending.remove(program)
        program.ending.signal(signal.SIGKILL, reaped=program.status is not None)
        program.ending.close()
        self._close_pipes(program)
        self._on_change(program)

    def _close_pipes(self, program: Program) -> None:
        """Close the agent's ends of a program's pipes."""
        while program.open:
            descriptor = program.open.pop()
            self._loop.forget(descriptor)
            os.close(descriptor)

    def forget(self, program: Program) -> None:
        """Drop a program and its output: a host cannot fetch its status any more."""
        self._programs.remove(program)
        self._captured -= program.out.size + program.err.size

    def _spawn(
        self,
        files: Sequence[bytes],
        argv: list[bytes],
        env: Mapping[bytes, bytes],
        stdio: tuple[int, int, int],
        target: Target | None,
        program: Program,
    ) -> int:
        def on_exit(status: int) -> None:
            program.status = status
            self._on_exit(program.pid, os.waitstatus_to_exitcode(status))
            self._on_change(program)

        keep = () if target is None else target.for_interpreter()
        refusal = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        for path in files:
            program.file = os.fsdecode(os.path.realpath(path)) if target is None else target.path or ""
            try:
                return self._children.spawn(path, argv, env, stdio, on_exit, keep)
            except OSError as error:
                if error.errno == errno.ENOEXEC:  # a script without #!, which execvp(3) passes to the shell as well
                    shell = [b"/bin/sh", path, *argv[1:]]
                    return self._children.spawn(shell[0], shell, env, stdio, on_exit, keep)
                if error.errno not in _TRIES_THE_NEXT:
                    raise
                refusal = error
        raise refusal

    def _watch(self, program: Program, descriptor: int, output: Output) -> None:
        def on_readable(events: int) -> None:
            data = os.read(descriptor, _READ_SIZE)
            self._captured += output.add(data, 0 if program.ending else self._max_captured - self._captured)
            if not data:
                self._loop.forget(descriptor)
                os.close(descriptor)
                program.open.remove(descriptor)
                self._on_change(program)

        self._loop.watch(descriptor, READ, on_readable)

    def _on_change(self, program: Program) -> None:
        if program.exited and program.ending is not None:
            if program in self._programs:
                self.forget(program)
        elif program.exited:
            program.ended = time.monotonic()
            self._drop()

    def _drop(self) -> None:
        """Forget results that have been kept for too long or take too much room."""
        finished = sorted((p for p in self._programs if p.exited), key=lambda p: p.ended, reverse=True)
        now = time.monotonic()
        held, oldest = 0, None
        for number, program in enumerate(finished):
            held += program.out.size + program.err.size
            if (number and (number >= MAX_FINISHED or held > MAX_KEPT)) or program.ended <= now - MAX_AGE:
                self.forget(program)
            else:
                oldest = program
        if oldest is not None and not self._expiring:
            self._expiring = True
            self._loop.call_later(oldest.ended + MAX_AGE - now, self._expire)

    def _expire(self) -> None:
        self._expiring = False
        self._drop()


def _size(arguments: Mapping[str, Any]) -> int:
    """Return the total length of a request's texts, in characters."""
    texts = [text for value in arguments.values() for text in (value if isinstance(value, list) else [value])]
    return sum(len(text) for text in texts if isinstance(text, str))


def _keep(descriptors: list[int], descriptor: int) -> int:
    descriptors.append(descriptor)
    return descriptor


def _pipe(theirs: list[int], ours: dict[int, Output], output: Output) -> int:
    """Create a pipe from the program to ``output``, and return the program's end of it."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    ours[reading] = output
    with contextlib.suppress(OSError):  # the user's limit for pipe buffers is reached
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE_SIZE)
    return _keep(theirs, writing)
