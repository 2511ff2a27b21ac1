"""The client for asyncio: the blocking one's methods, to be awaited. Several tasks may ask at once: it pipelines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from qga.client import transport
from qga.client.commands import SILENT, AsyncCommands
from qga.client.connection import Connection
from qga.client.errors import AgentTimeout, ClientError
from qga.client.operations import connect
from qga.client.operations.requests import Ask, Connected, Disconnect, Pause, Request, Ticket, allowed

if TYPE_CHECKING:
    from qga.client.files import AsyncGuestFile
    from qga.client.freezing import AsyncFreeze
    from qga.client.libvirt import LibvirtConnection

T = TypeVar("T")


class AsyncClient(AsyncCommands):
    """As ``qga.client.Client``; ``async with AsyncClient(address) as guest: await guest.guest_ping()``.

    For one event loop. ``download`` and ``upload`` read and write the host's own file without leaving the loop.
    """

    def __init__(self, address: str | None = None, *, timeout: float | None = None) -> None:
        """Parse the address, and connect later, with the first request. Raises AddressError."""
        self.address = transport.parse(address)
        self.timeout = timeout
        self._connection: AsyncConnection | AsyncLibvirtConnection | None = None
        self._connecting = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        address: str | None = None,
        *,
        timeout: float | None = None,
        wait: float = 0,
        progress: connect.Progress | None = None,
    ) -> Self:
        """Return a client that an agent has answered, as ``Client.connect`` does."""
        client = cls(address, timeout=timeout)
        await client.carry_out(connect.connect(wait, progress))
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next call makes another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def call(self, command: str, /, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Return what any command returns, as ``Client.call`` does."""
        return await self._ask(command, {name.replace("_", "-"): value for name, value in arguments.items()}, timeout)

    async def call_raw(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Return what a command returns for arguments as they are sent, as ``Client.call_raw`` does."""
        seconds = allowed(command, timeout, self.timeout)
        if command in SILENT:
            from qga.client.operations.silent import ask_silent

            return await self.carry_out(ask_silent(command, arguments or {}, seconds))
        deadline = time.monotonic() + seconds
        connection = await self._connected(seconds)
        return await connection.collect(connection.submit(command, arguments or {}), deadline)

    def open(self, path: str, mode: str = "r") -> AsyncGuestFile:
        """Open a file of the guest in a mode of fopen(3): ``async with client.open(path) as file:``."""
        from qga.client.files import AsyncGuestFile

        return AsyncGuestFile(self, path, mode)

    def freeze(self, *, timeout: float | None = None, mountpoints: Iterable[str] | None = None) -> AsyncFreeze:
        """Freeze the guest's filesystems inside ``async with client.freeze():``, and thaw them whatever happens."""
        from qga.client.freezing import AsyncFreeze

        return AsyncFreeze(self, timeout, mountpoints)

    async def carry_out(self, operation: Awaitable[T]) -> T:
        """Do what the operation requests, one after the other. What goes wrong is raised in it."""
        steps = operation.__await__()
        try:
            request = steps.send(None)
            while True:
                try:
                    value = await self._do(request)
                except BaseException as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(value)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, request: Request[Any]) -> Any:
        match request:
            case Ask():
                return await self.call_raw(request.command, request.arguments, timeout=request.timeout)
            case Ticket():
                seconds = allowed("", request.timeout, self.timeout)
                return await request.connection.collect(request.number, time.monotonic() + seconds)
            case Connected():
                return await self._connected(allowed("", request.timeout, self.timeout))
            case Pause():
                return await asyncio.sleep(request.seconds)
            case Disconnect():
                return self.close()
        raise TypeError(f"an operation awaited {request!r}: expected a request of qga.client.operations.requests")

    async def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        given = {name: value for name, value in arguments.items() if value is not None}
        return await self.call_raw(command, given, timeout=timeout)

    async def _connected(self, timeout: float) -> AsyncConnection | AsyncLibvirtConnection:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                seconds = min(connect.SYNC_TIMEOUT, timeout)
                if self.address.kind == "libvirt":
                    self._connection = await AsyncLibvirtConnection.open(self.address, seconds)
                else:
                    self._connection = await AsyncConnection.open(self.address, seconds)
            return self._connection


class AsyncConnection(transport.StreamConnection):
    """The event loop reads and writes, and a reply wakes the task that waits for it."""

    def __init__(self, address: str, stream: transport.Stream) -> None:
        super().__init__(address, stream)
        self._loop = asyncio.get_running_loop()
        self._futures: dict[int, asyncio.Future[None]] = {}
        self._loop.add_reader(self._descriptor, self.read)

    @classmethod
    async def open(cls, address: transport.Address, timeout: float) -> Self:
        """Connect and synchronise within ``timeout`` seconds. Raises AgentUnreachable, AgentTimeout, AddressError."""
        connection = cls(address.text, await asyncio.to_thread(transport.open_stream, address, timeout))
        try:
            await connection.collect(connection.synchronise(), time.monotonic() + timeout)
        except AgentTimeout:
            connection.close()
            raise connection.silence(timeout) from None
        except BaseException:
            connection.close()
            raise
        return connection

    async def collect(self, ticket: int, deadline: float) -> Any:
        """Wait for the reply. Raises AgentTimeout."""
        try:
            if not self.has(ticket):
                self._futures[ticket] = self._loop.create_future()
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._futures[ticket]
            return self.take(ticket)
        except TimeoutError:
            raise self.late(ticket) from None
        except BaseException:
            self.withdraw(ticket)
            raise
        finally:
            self._futures.pop(ticket, None)

    def flush(self) -> None:
        """Send what the stream takes now; have the event loop say when there is room for the rest."""
        before = self.blocked
        super().flush()
        if self.blocked and not before:
            self._loop.add_writer(self._descriptor, self.flush)
        elif before and not self.blocked:
            self._loop.remove_writer(self._descriptor)

    def wake(self, ticket: int) -> None:
        """Resume the task that waits for this reply, if one does."""
        if (future := self._futures.get(ticket)) is not None and not future.done():
            future.set_result(None)

    def close(self, error: ClientError | None = None) -> None:
        """Stop watching the stream and close it; what is under way fails with ``error``."""
        if not self.closed:
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            super().close(error)


class AsyncLibvirtConnection(Connection):
    """Each command in a thread, one at a time: libvirt's own calls block."""

    numbered = False

    def __init__(self, libvirt: LibvirtConnection) -> None:
        super().__init__(libvirt.address)
        self._libvirt = libvirt
        self._turn = asyncio.Lock()
        self.limits = libvirt.limits

    @classmethod
    async def open(cls, address: transport.Address, timeout: float) -> Self:
        """Connect and ping within ``timeout`` seconds. Raises AgentUnreachable, AgentTimeout, AddressError."""
        from qga.client.libvirt import LibvirtConnection

        return cls(await asyncio.to_thread(LibvirtConnection, address, timeout))

    async def collect(self, ticket: int, deadline: float) -> Any:
        """Send a request when its turn has come, wait for its reply and return its value.

        A request that is given up while it waits for its turn is never sent; one that is under way keeps its turn.
        Raises AgentTimeout at ``deadline``, in seconds of the monotonic clock.
        """
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._turn.acquire()
        except TimeoutError:
            command, _, _ = self.pop(ticket)
            text = "the agent was still busy with what was asked before; this was not sent"
            raise AgentTimeout(f"{command}: {text}", command=command) from None
        except BaseException:
            self.withdraw(ticket)
            raise
        work = asyncio.ensure_future(asyncio.to_thread(self._libvirt.ask, *self.pop(ticket), deadline))
        work.add_done_callback(self._done)
        return await asyncio.shield(work)

    def close(self, error: ClientError | None = None) -> None:
        """Close the connection to libvirt as well; what waits for its turn fails with ``error``."""
        super().close(error)
        self._libvirt.close()

    def _done(self, work: asyncio.Future[Any]) -> None:
        self._turn.release()
        if not work.cancelled():
            work.exception()  # seen, also where nobody waits for it any more
