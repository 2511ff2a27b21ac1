"""The guest that the agent runs in, as far as a test can replace it.

Files are named from the guest's root and found below ``root`` (nothing, or a tree of a test); programs go
through ``run``. Every other question to the machine goes through a method here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import select
import signal
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from qga.agent.linux import rtnetlink
from qga.protocol.errors import CommandError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LOGIN_NAME_MAX = 256  # with the NUL at the end: limits.h, sysconf(3)

_PIECE = 64 * 1024  # bytes read at a time


class Outcome(NamedTuple):
    """How a program ended. Exactly one of the first four is set.

    status: its exit status. signal: the number of the signal that killed it. timeout: the seconds after which
    it was ended. errno: why it could not be started. output: the end of its standard output and error.
    """

    status: int | None = None
    signal: int | None = None
    timeout: float | None = None
    errno: int | None = None
    output: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether it exited with status 0."""
        return self.status == 0

    def __str__(self) -> str:
        if self.errno is not None:
            return f"cannot be run: {os.strerror(self.errno)}"
        if self.timeout is not None:
            return f"timed out after {self.timeout:g} s"
        if self.signal is not None:
            return f"killed by {signal_name(self.signal)}"
        return f"exit status {self.status}"

    @property
    def text(self) -> str:
        """How it ended, with the end of its output."""
        words = self.output.decode(errors="replace").strip()
        return f"{self}: {words}" if words else str(self)

    def require(self, program: str, action: str) -> None:
        """Raise CommandError, in QEMU's words, unless ``program`` exited with 0. ``action`` is what it was to do."""
        if self.ok:
            return
        reason = self.output.decode(errors="surrogateescape")
        if self.signal is not None:
            raise CommandError("child process has terminated abnormally" + (f": {reason}" if reason else ""))
        if self.errno is not None:
            reason = f"failed to exec '{program}': {os.strerror(self.errno)}\n"
        elif self.timeout is not None:
            reason = f"{self}: {reason}" if reason else str(self)
        raise CommandError(f"child process has failed to {action}: {reason or self}")


def signal_name(number: int) -> str:
    """Return the name of a signal: "SIGKILL", or "signal 40" where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def failed_call(error: OSError, otherwise: str) -> str:
    """Return which call failed on a file: "open", or else the one named. Only open(2) makes Python name the file."""
    return "open" if error.filename is not None else otherwise


def read_text(path: str, *, once: bool = False) -> str:
    """Return the text of a whole file, by its real path.

    Python's open() takes four times as long for a line of sysfs. ``once``: one read(2) has it all, as of any file of
    sysfs; Documentation/filesystems/sysfs.rst. Raises OSError: with ``filename`` if open(2) failed, with
    ``filename2`` if read(2) did.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(descriptor, _PIECE)]
        while pieces[-1] and not once:
            pieces.append(os.read(descriptor, _PIECE))
    except OSError as error:
        error.filename2 = path
        raise
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode(errors="surrogateescape")


class Run(Protocol):
    """The way to run a helper: ``processes.run_helper``, or a test's own."""

    def __call__(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = ...) -> Outcome:
        """Run a program found through PATH and wait for it, at most ``timeout`` seconds."""


class RunAs(Protocol):
    """The way to work as a user: ``processes.run_as``, or a test's own."""

    def __call__(self, user: pwd.struct_passwd, work: Callable[[], bytes]) -> bytes:
        """Carry out ``work`` in a process of that user, and return its result. Raises CommandError."""


class Attempt(Protocol[T_co]):
    """A system call that has begun. ``descriptor`` can be read from once it has answered; None: it has."""

    descriptor: int | None

    def answer(self) -> T_co:
        """Wait for the answer and return it. Raises CommandError."""

    def give_up(self) -> None:
        """Wait for it no longer: when it comes back, it undoes what it has done."""


class Begin(Protocol):
    """The way to make a system call that the kernel may never return from: ``processes.begin``, or a test's own."""

    def __call__(self, work: Callable[[], AbstractContextManager[T]], keep: Sequence[int] = ()) -> Attempt[T]:
        """Enter ``work`` in a process that can be given up.

        The process keeps the descriptors ``keep`` open. Raises CommandError where no process can be made.
        """


def readable(calls: Iterable[Attempt[T]], seconds: float) -> Attempt[T] | None:
    """Return a call that has answered, or None where none does in so many seconds."""
    poll = select.poll()
    waiting = {}
    for call in calls:
        if call.descriptor is None:
            return call
        waiting[call.descriptor] = call
        poll.register(call.descriptor, select.POLLIN)
    ready = poll.poll(max(0.0, seconds) * 1000) if waiting else []
    return waiting[ready[0][0]] if ready else None


class ImmediateAttempt(Generic[T]):
    """A call that was made on the spot, by this process: it has waited as long as the kernel did."""

    descriptor: int | None = None

    def __init__(self, work: Callable[[], AbstractContextManager[T]], keep: Sequence[int] = ()) -> None:
        with ExitStack() as stack:
            self._answer = stack.enter_context(work())

    def answer(self) -> T:
        """Return the answer, which is there already."""
        return self._answer

    def give_up(self) -> None:
        """Do nothing: the call has ended."""


def _cannot_run_as(user: pwd.struct_passwd, work: Callable[[], bytes]) -> bytes:
    raise CommandError(f"cannot become user '{user.pw_name}'")


class Host:
    """The guest: its files below ``root``, its programs, and its system calls."""

    def __init__(
        self,
        run: Run,
        which: Callable[[str], str | None],
        root: str = "",
        run_as: RunAs = _cannot_run_as,
        begin: Begin = ImmediateAttempt,
    ) -> None:
        self.run = run
        self.which = which
        self.root = root
        self.run_as = run_as
        self.begin = begin

    def path(self, path: str) -> str:
        """Return where a file of the guest really lies; ``path`` is absolute."""
        return self.root + path

    def within(self, seconds: float, work: Callable[[], T]) -> T | None:
        """Carry out ``work`` in a process of its own; returns its result, or None after ``seconds`` without one.

        The result must suit marshal. Where no process can be made, the work is done in this one.
        """

        @contextmanager
        def entered() -> Iterator[T]:
            yield work()

        try:
            call = self.begin(entered)
        except CommandError:
            return work()
        try:
            return call.answer() if readable([call], seconds) is not None else None
        finally:
            call.give_up()

    def asleep(self) -> float:
        """Return the seconds that the guest has slept since it booted, by its clocks: clock_gettime(2)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)

    def clock(self) -> int:
        """Return the nanoseconds since 1970 in UTC: clock_gettime(2)."""
        return time.time_ns()

    def set_clock(self, nanoseconds: int) -> None:
        """Set the clock: clock_settime(2). Raises OSError, and OverflowError for a time that time_t cannot hold."""
        time.clock_settime_ns(time.CLOCK_REALTIME, nanoseconds)

    def user(self, name: str) -> pwd.struct_passwd:
        """Return a user by name: getpwnam(3). Raises KeyError, and ValueError for what cannot be a name.

        What answers in libc is not made for megabytes: nss-systemd ends the process.
        """
        if len(name) >= LOGIN_NAME_MAX:
            raise KeyError(name)
        return pwd.getpwnam(name)

    def signal_init(self, number: int) -> None:
        """Send process 1 a signal: kill(2). Raises OSError."""
        os.kill(1, number)

    def uname(self) -> os.uname_result:
        """Return the name of the guest, and the name and versions of its kernel.

        Source: uname(2).
        """
        return os.uname()

    def timezone(self) -> tuple[str, int]:
        """Return the zone's abbreviation and seconds east of UTC, by the present $TZ or /etc/localtime: tzset(3)."""
        time.tzset()
        now = time.localtime()
        return now.tm_zone, now.tm_gmtoff

    def rtnetlink(self, request: int) -> list[bytes]:
        """Return the payloads of the kernel's answer to RTM_GETLINK or RTM_GETADDR.

        Raises OSError. Source: rtnetlink(7).
        """
        return rtnetlink.dump(request)

    def load_average(self) -> tuple[float, float, float]:
        """Return the load of the last 1, 5 and 15 minutes: getloadavg(3). Raises OSError."""
        return os.getloadavg()

    def block_device(self, path: str) -> tuple[int, int] | None:
        """Return major and minor number of a block device; None for what is not one, or cannot be read: stat(2)."""
        try:
            status = os.stat(self.path(path))
        except OSError:
            return None
        return (os.major(status.st_rdev), os.minor(status.st_rdev)) if stat.S_ISBLK(status.st_mode) else None

    def ioctl(self, descriptor: int, request: int, argument: bytearray | int = 0) -> int:
        """Send a device or filesystem a request, which overwrites a bytearray with the kernel's answer.

        Raises OSError. Source: ioctl(2).
        """
        return fcntl.ioctl(descriptor, request, argument)

    def mounted_at(self, descriptor: int) -> tuple[int, tuple[int, int]] | None:
        """Return the id of the mount that an open file was reached through, and the device number of its filesystem.

        None where it cannot be known: proc(5), /proc/[pid]/fdinfo, mnt_id. Below a ``root`` there are no mounts.
        """
        if self.root:
            return None
        try:
            lines = read_text(f"/proc/self/fdinfo/{descriptor}").splitlines()
            device = os.fstat(descriptor).st_dev
        except OSError:
            return None
        ids = [int(line.split()[1]) for line in lines if line.startswith("mnt_id:")]
        return (ids[0], (os.major(device), os.minor(device))) if ids else None

    def statvfs(self, descriptor: int) -> os.statvfs_result:
        """Return the sizes of an open file's filesystem: fstatvfs(3). Raises OSError."""
        return os.fstatvfs(descriptor)

    def read(self, path: str) -> str:
        """Return a text file of the guest. Raises OSError."""
        return read_text(self.path(path))

    def read_attribute(self, path: str) -> str:
        """Return a file of sysfs, read in one call; an empty one is an error. Raises OSError."""
        text = read_text(self.path(path), once=True)
        if not text:
            raise OSError(errno.ENODATA, "unexpected EOF")
        return text

    def write(self, path: str, text: str) -> None:
        """Write all of a text to an existing file in one system call, as sysfs wants it. Raises OSError."""
        descriptor = os.open(self.path(path), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
