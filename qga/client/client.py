"""The blocking client: a method for every command, and what carries operations out over a connection that blocks."""

from __future__ import annotations

import select
import time
from collections.abc import Awaitable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from qga.client import transport
from qga.client.commands import SILENT, Commands
from qga.client.errors import AgentTimeout
from qga.client.operations import connect
from qga.client.operations.requests import Ask, Connected, Disconnect, Pause, Request, Ticket, allowed

if TYPE_CHECKING:
    from qga.client.files import GuestFile
    from qga.client.freezing import Freeze
    from qga.client.libvirt import LibvirtConnection

T = TypeVar("T")

LONGEST_POLL = 3600.0  # seconds: poll(2) takes at most 2**31 milliseconds


class Client(Commands):
    """Talks to the agent at ``address`` ($QGA_CONNECT by default: ``qga.client.transport``), one command at a time.

    ``timeout``: seconds that a command has, if the call says nothing; without it 30, more for the few that take long.
    It connects when first asked, and again after the connection broke; what broke with it is not asked again.
    Every method raises ClientError's kinds. Not for several threads at once.
    """

    def __init__(self, address: str | None = None, *, timeout: float | None = None) -> None:
        """Parse the address, and connect later, with the first request. Raises AddressError."""
        self.address = transport.parse(address)
        self.timeout = timeout
        self._connection: BlockingConnection | LibvirtConnection | None = None

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        *,
        timeout: float | None = None,
        wait: float = 0,
        progress: connect.Progress | None = None,
    ) -> Self:
        """Return a client that an agent has answered.

        ``wait``: seconds that one may take to appear, as a guest that boots. ``progress`` is called with the seconds
        passed and what was wrong, after each try that failed.
        """
        client = cls(address, timeout=timeout)
        client.carry_out(connect.connect(wait, progress))
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next call makes another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, command: str, /, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Return what any command returns, also one that the schema does not have.

        ``buf_b64=`` is its argument buf-b64; None is left out.
        """
        return self._ask(command, {name.replace("_", "-"): value for name, value in arguments.items()}, timeout)

    def call_raw(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Return what a command returns, for arguments as they are sent, None included.

        shutdown and suspend return None once the agent is past them, has left, or has been silent for 5 s.
        """
        seconds = allowed(command, timeout, self.timeout)
        if command in SILENT:
            from qga.client.operations.silent import ask_silent

            return self.carry_out(ask_silent(command, arguments or {}, seconds))
        deadline = time.monotonic() + seconds
        connection = self._connected(seconds)
        return connection.collect(connection.submit(command, arguments or {}), deadline)

    def open(self, path: str, mode: str = "r") -> GuestFile:
        """Open a file of the guest, binary and unbuffered, in a mode of fopen(3): an ``io.RawIOBase``."""
        from qga.client.files import GuestFile

        return GuestFile(self, path, mode)

    def freeze(self, *, timeout: float | None = None, mountpoints: Iterable[str] | None = None) -> Freeze:
        """Freeze the guest's filesystems inside ``with client.freeze():``, and thaw them whatever happens."""
        from qga.client.freezing import Freeze

        return Freeze(self, timeout, mountpoints)

    def carry_out(self, operation: Awaitable[T]) -> T:
        """Do what the operation requests, one after the other. What goes wrong is raised in it."""
        steps = operation.__await__()
        try:
            request = steps.send(None)
            while True:
                try:
                    value = self._do(request)
                except BaseException as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(value)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, request: Request[Any]) -> Any:
        match request:
            case Ask():
                return self.call_raw(request.command, request.arguments, timeout=request.timeout)
            case Ticket():
                seconds = allowed("", request.timeout, self.timeout)
                return request.connection.collect(request.number, time.monotonic() + seconds)
            case Connected():
                return self._connected(allowed("", request.timeout, self.timeout))
            case Pause():
                return time.sleep(request.seconds)
            case Disconnect():
                return self.close()
        raise TypeError(f"an operation awaited {request!r}: expected a request of qga.client.operations.requests")

    def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        given = {name: value for name, value in arguments.items() if value is not None}
        return self.call_raw(command, given, timeout=timeout)

    def _connected(self, timeout: float) -> BlockingConnection | LibvirtConnection:
        if self._connection is None or self._connection.closed:
            self._connection = None
            seconds = min(connect.SYNC_TIMEOUT, timeout)
            if self.address.kind == "libvirt":
                from qga.client.libvirt import LibvirtConnection

                self._connection = LibvirtConnection(self.address, seconds)
            else:
                self._connection = BlockingConnection(self.address, seconds)
        return self._connection


class BlockingConnection(transport.StreamConnection):
    """Waits by poll(2).

    It synchronises before anything else is sent: what is asked where nobody listens must not be carried out later.
    """

    def __init__(self, address: transport.Address, timeout: float) -> None:
        """Connect and synchronise within ``timeout`` seconds. Raises AgentUnreachable, AgentTimeout, AddressError."""
        deadline = time.monotonic() + timeout
        super().__init__(address.text, transport.open_stream(address, timeout))
        self._poll = select.poll()
        try:
            self.collect(self.synchronise(), deadline)
        except AgentTimeout:
            self.close()
            raise self.silence(timeout) from None
        except BaseException:
            self.close()
            raise

    def collect(self, ticket: int, deadline: float) -> Any:
        """Wait for the reply. Raises AgentTimeout, also while what comes is anything but what is waited for."""
        try:
            while not self.has(ticket):
                left = deadline - time.monotonic()
                self._poll.register(self._descriptor, select.POLLIN | (select.POLLOUT if self.blocked else 0))
                events = self._poll.poll(min(max(0.0, left), LONGEST_POLL) * 1000)
                for _, event in events:
                    if event & select.POLLOUT:
                        self.flush()
                    if event & ~select.POLLOUT and not self.closed:
                        self.read()
                if left <= 0 and not self.has(ticket):
                    raise self.late(ticket)
            return self.take(ticket)
        except BaseException:
            self.withdraw(ticket)
            raise
