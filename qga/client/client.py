"""The blocking client: a road, a session, and a method for every command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from qga.client import transport
from qga.client.commands import SILENT, Commands
from qga.client.connection import SYNC_TIMEOUT, Line, StreamLine
from qga.client.errors import AgentTimeout, AgentUnreachable
from qga.client.operations.requests import LONGER, SETTLED, Ask, Collect, Limits, Pause, Step, Steps, Submit, Write

if TYPE_CHECKING:
    from qga.client.files import GuestFile
    from qga.client.freezing import Freeze
    from qga.client.operations.outcome import Outcome
    from qga.client.operations.run import Completed

T = TypeVar("T")

TIMEOUT = 30.0  # seconds that a command has where nobody says otherwise
RETRY = 0.5  # seconds between two tries while waiting for an agent

Waiting = Callable[[float, Exception], None]


class Client(Commands):
    """Talks to the agent at ``address`` ($QGA_CONNECT by default: ``qga.client.transport``), one command at a time.

    ``timeout``: seconds that a command has, if the call says nothing; without it 30, more for the few that take long.
    It connects when first asked, and again after the connection broke; what broke with it is not asked again.
    Every method raises ClientError's kinds. Not for several threads at once.
    """

    def __init__(self, address: str | None = None, *, timeout: float | None = None) -> None:
        """Raises AddressError; does not connect yet."""
        self.address = transport.parse(address)
        self.timeout = timeout
        self._line: Line | None = None

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        *,
        timeout: float | None = None,
        wait: float = 0,
        progress: Waiting | None = None,
    ) -> Self:
        """A client that an agent has answered. ``wait``: seconds that one may take to appear, as a guest that boots.

        ``progress`` is called with the seconds passed and what was wrong, after each try that failed.
        """
        client = cls(address, timeout=timeout)
        start = time.monotonic()
        while True:
            try:
                client._connected(max(0.1, min(SYNC_TIMEOUT, start + wait - time.monotonic())) if wait else None)
                return client
            except (AgentUnreachable, AgentTimeout) as error:
                passed = time.monotonic() - start
                if passed >= wait:
                    raise
                if progress:
                    progress(passed, error)
                time.sleep(min(RETRY, max(0.0, wait - passed)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The next call connects again."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def call(self, command: str, /, *, timeout: float | None = None, **arguments: Any) -> Any:
        """What any command returns, also one that the schema does not have.

        ``buf_b64=`` is its argument buf-b64; None is left out.
        """
        return self._ask(command, {name.replace("_", "-"): value for name, value in arguments.items()}, timeout)

    def call_raw(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """As ``call``, with arguments as they travel, None included.

        shutdown and suspend return None once the agent is past them, has left, or has been silent for 5 s.
        """
        deadline = time.monotonic() + self._allowed(command, timeout)
        line = self._connected(deadline - time.monotonic())
        if command in SILENT:
            return self._ask_silent(line, command, arguments or {}, deadline)
        return line.collect(line.submit(command, arguments or {}, deadline), deadline)

    def open(self, path: str, mode: str = "r") -> GuestFile:
        """A file of the guest, binary and unbuffered, in a mode of fopen(3): an ``io.RawIOBase``."""
        from qga.client.files import GuestFile
        from qga.client.payload import limits

        return GuestFile(self, self.carry_out(limits()), path, mode)

    def freeze(self, *, timeout: float | None = None, mountpoints: Iterable[str] | None = None) -> Freeze:
        """``with client.freeze():`` holds the guest's filesystems still, and thaws them whatever happens."""
        from qga.client.freezing import Freeze

        return Freeze(self, self.close, timeout, mountpoints)

    def run(
        self,
        argv: Iterable[str],
        *,
        input: bytes | str | None = None,  # noqa: A002  subprocess.run's name
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        capture_output: bool = True,
        check: bool = False,
        text: bool = False,
    ) -> Completed:
        """Run a program in the guest and wait for it, as ``subprocess.run``.

        ``env`` is its whole environment. After ``timeout`` seconds (none by default) it is killed, where the guest
        has kill(1), and AgentTimeout raised. Output beyond 16 MiB of a stream is lost: ``truncated`` says so.
        """
        from qga.client.operations import run

        words = list(argv)
        steps = run.run(words, input, env, timeout, capture_output=capture_output, text=text)
        return run.checked(self.carry_out(steps), check=check)

    def download(self, source: str, target: str | BinaryIO, **options: Any) -> Outcome:
        """Copy a file of the guest to this machine: ``qga.client.operations.download.download`` has the options."""
        from qga.client.operations.download import download

        return self.carry_out(download(source, target, **options))

    def upload(self, source: str | BinaryIO, target: str, **options: Any) -> Outcome:
        """Copy a file of this machine into the guest: ``qga.client.operations.copy.upload`` has the options."""
        from qga.client.operations import copy

        return self.carry_out(copy.upload(source, target, **options))

    def carry_out(self, steps: Steps[T]) -> T:
        """Do what the steps want, one after the other. What goes wrong is thrown into them."""
        try:
            step = next(steps)
            while True:
                try:
                    came = self._do(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(came)
        except StopIteration as end:
            value: T = end.value
            return value

    def _do(self, step: Step) -> Any:
        match step:
            case Ask(command, arguments, timeout):
                return self.call_raw(command, arguments, timeout=timeout)
            case Pause(seconds):
                return time.sleep(seconds)
        allowed = self.timeout or TIMEOUT
        deadline = time.monotonic() + allowed
        if isinstance(step, Collect):
            where, number = step.ticket
            return where.collect(number, deadline)
        line = self._connected(allowed)
        match step:
            case Submit(command, arguments):
                return line, line.submit(command, arguments, deadline)
            case Write(handle, encoded):
                return line, line.submit_write(handle, encoded, deadline)
            case Limits():
                return Limits(line.chunk, line.write_chunk, line.window)

    def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        given = {name: value for name, value in arguments.items() if value is not None}
        return self.call_raw(command, given, timeout=timeout)

    def _ask_silent(self, line: Line, command: str, arguments: Mapping[str, Any], deadline: float) -> None:
        """A ping behind it is answered once the agent is done with it, and still there."""
        deadline = min(deadline, time.monotonic() + SETTLED)
        ticket = line.submit(command, arguments, deadline, silent=True)
        try:
            line.submit("guest-ping", {}, deadline)
            line.collect(ticket, deadline)
        except (AgentUnreachable, AgentTimeout):
            self.close()

    def _allowed(self, command: str, timeout: float | None) -> float:
        if timeout is not None:
            return timeout
        return self.timeout if self.timeout is not None else LONGER.get(command, TIMEOUT)

    def _connected(self, timeout: float | None = None) -> Line:
        if self._line is not None and not self._line.dead:
            return self._line
        self._line = None
        allowed = SYNC_TIMEOUT if timeout is None else min(SYNC_TIMEOUT, timeout)
        if self.address.kind == "libvirt":
            from qga.client.libvirt import LibvirtLine

            self._line = LibvirtLine(self.address, allowed)
        else:
            self._line = StreamLine(self.address, allowed)
        return self._line
