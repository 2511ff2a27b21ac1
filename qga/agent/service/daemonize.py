"""The move to the background, by python-daemon, with a starting process that waits until the daemon runs.

The rule it keeps: the exit status of the starting process is right. It is 0 once the daemon has its pid file and has
called ready(), and 1, with the daemon's own error on stderr, if it failed before. The two are joined by a pipe, so
nothing depends on which process waits for which.

python-daemon's defaults are for other daemons: its umask is 0, its SIGTERM handler raises inside the handler,
it forbids core dumps to every program started later, and it leaves descriptors 0 to 2 close-on-exec.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

UMASK = 0o077  # as QEMU's agent
READY_TIMEOUT = 60.0  # seconds; opening a channel takes milliseconds, a loaded guest at boot some seconds
STANDARD_STREAMS = (0, 1, 2)

_READY = b"+"
_FAILED = b"-"


class DaemonError(Exception):
    """Going to the background failed."""


class Link:
    """The daemon's end of the pipe to the starting process. The first message counts, any other is lost."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def ready(self) -> None:
        """Let the starting process exit with 0.

        Raises DaemonError if it has exited already: its caller has seen that the start failed, so the daemon must not
        go on.
        """
        if not self._send(_READY):
            raise DaemonError("the starting process gave up waiting")

    def failed(self, text: str) -> None:
        """Let the starting process print ``text`` and exit with 1."""
        self._send(_FAILED + text.encode("utf-8", "backslashreplace"))

    def _send(self, message: bytes) -> bool:
        """Send a message, if it is the first. Returns False if the starting process is gone."""
        if self._descriptor is None:
            return True
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.write(descriptor, message[: select.PIPE_BUF])
        except BrokenPipeError:
            return False
        finally:
            os.close(descriptor)
        return True


def daemonize(
    program: str,
    pidfile: AbstractContextManager[object] | None = None,
    preserve: Iterable[int] = (),
    timeout: float = READY_TIMEOUT,
) -> Link:
    """Fork, and return in the daemon only, with the link to the starting process.

    The daemon has a session of its own, working directory ``/``, umask 077, and standard streams on /dev/null; all
    descriptors but ``preserve`` are closed. ``pidfile`` is entered in the daemon and left at its normal exit. The
    starting process waits up to ``timeout`` seconds for a message of the link, then exits; its error line starts with
    ``program``. Raises DaemonError if it cannot fork. In the daemon an error (DaemonError, or one of ``pidfile``) is
    sent by the link, then raised.
    """
    occupy_standard_streams()
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        raise DaemonError(f"cannot fork: {error.strerror}") from None
    if child:
        os.close(writing)
        _wait_and_exit(program, reading, timeout)
    os.close(reading)
    link = Link(writing)
    try:
        _detach(pidfile, [*preserve, writing])
    except Exception as error:
        link.failed(str(error))
        raise
    return link


def _detach(pidfile: AbstractContextManager[object] | None, preserve: list[int]) -> None:
    try:
        import daemon  # costs a few ms, and only -d needs it
    except ImportError:
        raise DaemonError("-d needs python-daemon, which is not installed") from None
    try:
        daemon.DaemonContext(
            detach_process=True,
            umask=UMASK,
            prevent_core=False,
            signal_map={},
            files_preserve=preserve,
            pidfile=pidfile,
        ).open()
    except daemon.daemon.DaemonError as error:
        raise DaemonError(str(error)) from None
    for descriptor in STANDARD_STREAMS:
        os.set_inheritable(descriptor, True)


def _wait_and_exit(program: str, reading: int, timeout: float) -> NoReturn:
    """Exit with the status of the daemon's start, without clean-up: what is open belongs to the daemon now."""
    status = 1
    try:
        text = _receive(reading, timeout)
        if text is None:
            status = 0
        else:
            os.write(2, f"{program}: {text}\n".encode("utf-8", "backslashreplace"))
    except KeyboardInterrupt:
        os.write(2, f"{program}: interrupted before the agent was ready\n".encode())
    finally:
        os._exit(status)


def _receive(reading: int, timeout: float) -> str | None:
    """Return None if the daemon is ready, else the reason why it is not."""
    deadline = time.monotonic() + timeout
    received = b""
    while not received.startswith(_READY):
        left = max(deadline - time.monotonic(), 0)
        if not select.select([reading], [], [], left)[0]:
            return f"the agent was not ready after {timeout:g} s"
        more = os.read(reading, select.PIPE_BUF)
        if not more:
            return received[1:].decode("utf-8", "replace") or "the agent ended before it was ready"
        received += more
    return None


def occupy_standard_streams() -> None:
    """Open /dev/null as each of the descriptors 0 to 2 that is closed, lest another file get its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) in STANDARD_STREAMS:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
