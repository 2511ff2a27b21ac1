"""Lines to an agent for asyncio: as ``qga.client.connection``, but waiting is the event loop's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from qga.client import transport
from qga.client.connection import READ, Sender, StreamLine, silence
from qga.client.errors import AgentTimeout, AgentUnreachable, ClientError, OutOfStep
from qga.client.session import Reply, Session

if TYPE_CHECKING:
    from qga.client.libvirt import LibvirtLine


class AsyncLine(Protocol):
    dead: bool
    chunk: int
    write_chunk: int
    window: int

    def submit(self, command: str, arguments: Mapping[str, Any], *, silent: bool = False) -> int: ...
    def submit_write(self, handle: int, encoded: bytes) -> int: ...
    async def collect(self, ticket: int, deadline: float) -> Any: ...
    def close(self) -> None: ...


class AsyncStreamLine:
    """``connection.StreamLine`` on an event loop: the loop reads and writes, replies wake those who wait."""

    chunk, write_chunk, window = StreamLine.chunk, StreamLine.write_chunk, StreamLine.window

    def __init__(self, stream: transport.Stream, address: str) -> None:
        self.dead = False
        self._stream, self._address = stream, address
        self._descriptor = stream.fileno()
        self._loop = asyncio.get_running_loop()
        self._session = Session()
        self._sender = Sender(self._descriptor, self._session)
        self._futures: dict[int, asyncio.Future[Reply]] = {}
        self._loop.add_reader(self._descriptor, self._read)

    @classmethod
    async def connect(cls, address: transport.Address, timeout: float) -> Self:
        stream = await asyncio.to_thread(transport.open_stream, address, timeout)
        line = cls(stream, address.text)
        try:
            synchronised = line._expect(1)  # a session's first request
            line._sender.begin(line._session.synchronise())
            line._write()
            async with asyncio.timeout(timeout):
                error = (await synchronised).error
            if error is not None:
                raise error
        except TimeoutError:
            line.close()
            raise AgentTimeout(silence(address.text, timeout, echoed=line._session.echoed)) from None
        except BaseException:
            line.close()
            raise
        return line

    def submit(self, command: str, arguments: Mapping[str, Any], *, silent: bool = False) -> int:
        self._check_open()
        return self._submitted(self._session.request(command, arguments, silent=silent))

    def submit_write(self, handle: int, encoded: bytes) -> int:
        self._check_open()
        return self._submitted(self._session.write(handle, encoded))

    async def collect(self, ticket: int, deadline: float) -> Any:
        future = self._futures[ticket]
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                reply = await future
        except BaseException as error:
            command = self._session.command(ticket)
            self._sender.withdraw(ticket)
            self._write()  # what waited for this one
            if isinstance(error, TimeoutError):
                text = "the agent did not answer in time; it may still carry out what it was asked"
                raise AgentTimeout(f"{command}: {text}", command=command) from None
            raise
        finally:
            self._futures.pop(ticket, None)
        if reply.error is not None:
            raise reply.error
        return reply.value

    def close(self) -> None:
        self._end(AgentUnreachable(f"{self._address}: the connection is closed"))

    def _check_open(self) -> None:
        if self.dead:
            raise AgentUnreachable(f"{self._address}: the connection is closed")

    def _submitted(self, number: int) -> int:
        self._expect(number)
        if not self._sender.waiting:
            self._write()
        return number

    def _expect(self, number: int) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._futures[number] = future
        return future

    def _write(self) -> None:
        if self.dead:
            return
        try:
            if self._sender.write():
                self._loop.remove_writer(self._descriptor)
            else:
                self._loop.add_writer(self._descriptor, self._write)
        except OSError as error:
            self._lost(f": {error.strerror}")

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(f": {error.strerror}")
            return
        if not data:
            self._lost("")
            return
        try:
            replies = self._session.receive(data)
        except OutOfStep as error:
            self._end(error)
            return
        for reply in replies:
            future = self._futures.get(reply.number)
            if future is not None and not future.done():
                future.set_result(reply)
        self._write()

    def _lost(self, why: str) -> None:
        self._end(AgentUnreachable(f"{self._address}: the other side closed the connection{why}"))

    def _end(self, error: ClientError) -> None:
        if self.dead:
            return
        self.dead = True
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._stream.close()
        for number, future in self._futures.items():
            if not future.done():
                future.set_result(Reply(number, None, error))


class AsyncLibvirtLine:
    """Each command in a thread, one at a time: libvirt's own calls block."""

    def __init__(self, line: LibvirtLine) -> None:
        self.dead = False
        self._line = line
        self._turn = asyncio.Lock()
        self.chunk, self.write_chunk, self.window = line.chunk, line.write_chunk, line.window

    @classmethod
    async def connect(cls, address: transport.Address, timeout: float) -> Self:
        from qga.client.libvirt import LibvirtLine

        return cls(await asyncio.to_thread(LibvirtLine, address, timeout))

    def submit(self, command: str, arguments: Mapping[str, Any], *, silent: bool = False) -> int:
        return self._line.submit(command, arguments, 0, silent=silent)

    def submit_write(self, handle: int, encoded: bytes) -> int:
        return self._line.submit_write(handle, encoded, 0)

    async def collect(self, ticket: int, deadline: float) -> Any:
        """One that is given up while it waits for its turn is never sent; one that is under way keeps its turn."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._turn.acquire()
        except BaseException as error:
            command = self._line.withdraw(ticket)
            if isinstance(error, TimeoutError):
                text = "the agent was still busy with what was asked before; this was not sent"
                raise AgentTimeout(f"{command}: {text}", command=command) from None
            raise
        work = asyncio.ensure_future(asyncio.to_thread(self._line.collect, ticket, deadline))
        work.add_done_callback(self._done)
        return await asyncio.shield(work)

    def close(self) -> None:
        self.dead = True
        self._line.close()

    def _done(self, work: asyncio.Future[Any]) -> None:
        self._turn.release()
        if not work.cancelled():
            work.exception()  # seen, also where nobody waits for it any more
