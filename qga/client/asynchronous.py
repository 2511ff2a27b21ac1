"""The client for asyncio: the blocking one's methods, to be awaited. Several tasks may ask at once: it pipelines."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from qga.client import roads
from qga.client.client import RETRY, TIMEOUT, Waiting
from qga.client.commands import SILENT, AsyncCommands
from qga.client.errors import AgentTimeout, AgentUnreachable, ClientError, CommandFailed, CommandNotFound, OutOfStep
from qga.client.lines import READ, SYNC_TIMEOUT, StreamLine, silence
from qga.client.session import Reply, Session
from qga.client.steps import LONGER, SETTLED, Ask, Collect, Limits, Pause, Step, Steps, Submit, Write

if TYPE_CHECKING:
    from qga.client.copy import Outcome
    from qga.client.libvirt import LibvirtLine
    from qga.client.running import Completed

T = TypeVar("T")
THAW_TIMEOUT = 180.0  # seconds, as qga.client.freezing


class _Line(Protocol):
    dead: bool
    chunk: int
    write_chunk: int
    window: int

    def submit(self, command: str, arguments: Mapping[str, Any], *, silent: bool = False) -> int: ...
    def submit_write(self, handle: int, encoded: bytes) -> int: ...
    async def collect(self, ticket: int, deadline: float) -> Any: ...
    def close(self) -> None: ...


class _StreamLine:
    """``qga.client.lines.StreamLine`` on an event loop: the loop reads and writes, replies wake those who wait."""

    chunk, write_chunk, window = StreamLine.chunk, StreamLine.write_chunk, StreamLine.window

    def __init__(self, stream: roads.Stream, address: str) -> None:
        self.dead = False
        self._stream, self._address = stream, address
        self._descriptor = stream.fileno()
        self._loop = asyncio.get_running_loop()
        self._session = Session()
        self._out: deque[memoryview] = deque()
        self._futures: dict[int, asyncio.Future[Reply]] = {}
        self._loop.add_reader(self._descriptor, self._read)

    @classmethod
    async def connect(cls, address: roads.Address, timeout: float) -> Self:
        stream = await asyncio.to_thread(roads.open_stream, address, timeout)
        line = cls(stream, address.text)
        try:
            synchronised = line._expect(1)  # a session's first request
            line._send(line._session.synchronise())
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
        return self._submitted(*self._session.request(command, arguments, silent=silent))

    def submit_write(self, handle: int, encoded: bytes) -> int:
        return self._submitted(*self._session.write(handle, encoded))

    async def collect(self, ticket: int, deadline: float) -> Any:
        future = self._futures[ticket]
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                reply = await future
        except BaseException as error:
            command = self._session.command(ticket)
            self._session.abandon(ticket)
            if self._out:
                self.close()
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

    def _submitted(self, number: int, data: bytes) -> int:
        self._expect(number)
        self._send(data)
        return number

    def _expect(self, number: int) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._futures[number] = future
        return future

    def _send(self, data: bytes) -> None:
        if self.dead:
            raise AgentUnreachable(f"{self._address}: the connection is closed")
        waiting = bool(self._out)
        self._out.append(memoryview(data))
        if not waiting:
            self._write()

    def _write(self) -> None:
        try:
            while self._out:
                piece = self._out[0]
                sent = os.write(self._descriptor, piece)
                if sent == len(piece):
                    self._out.popleft()
                else:
                    self._out[0] = piece[sent:]
            self._loop.remove_writer(self._descriptor)
        except BlockingIOError:
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


class _LibvirtLine:
    """Each command in a thread: libvirt's own calls block."""

    def __init__(self, line: LibvirtLine) -> None:
        self.dead = False
        self._line = line
        self._turn = asyncio.Lock()
        self.chunk, self.write_chunk, self.window = line.chunk, line.write_chunk, line.window

    @classmethod
    async def connect(cls, address: roads.Address, timeout: float) -> Self:
        from qga.client.libvirt import LibvirtLine

        return cls(await asyncio.to_thread(LibvirtLine, address, timeout))

    def submit(self, command: str, arguments: Mapping[str, Any], *, silent: bool = False) -> int:
        return self._line.submit(command, arguments, 0, silent=silent)

    def submit_write(self, handle: int, encoded: bytes) -> int:
        return self._line.submit_write(handle, encoded, 0)

    async def collect(self, ticket: int, deadline: float) -> Any:
        async with self._turn:
            return await asyncio.to_thread(self._line.collect, ticket, deadline)

    def close(self) -> None:
        self.dead = True
        self._line.close()


class AsyncClient(AsyncCommands):
    """As ``qga.client.Client``; ``async with AsyncClient(address) as guest: await guest.guest_ping()``.

    For one event loop. ``download`` and ``upload`` read and write the host's own file without leaving the loop.
    """

    def __init__(self, address: str | None = None, *, timeout: float | None = None) -> None:
        """Raises AddressError; does not connect yet."""
        self.address = roads.parse(address)
        self.timeout = timeout
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        address: str | None = None,
        *,
        timeout: float | None = None,
        wait: float = 0,
        progress: Waiting | None = None,
    ) -> Self:
        """As ``Client.connect``."""
        client = cls(address, timeout=timeout)
        start = time.monotonic()
        while True:
            try:
                await client._connected(max(0.1, start + wait - time.monotonic()) if wait else SYNC_TIMEOUT)
                return client
            except (AgentUnreachable, AgentTimeout) as error:
                passed = time.monotonic() - start
                if passed >= wait:
                    raise
                if progress:
                    progress(passed, error)
                await asyncio.sleep(min(RETRY, max(0.0, wait - passed)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The next call connects again."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def call(self, command: str, /, *, timeout: float | None = None, **arguments: Any) -> Any:
        """As ``Client.call``."""
        return await self._ask(command, {name.replace("_", "-"): value for name, value in arguments.items()}, timeout)

    async def call_raw(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """As ``Client.call_raw``."""
        allowed = timeout if timeout is not None else self.timeout
        if allowed is None:
            allowed = LONGER.get(command, TIMEOUT)
        deadline = time.monotonic() + allowed
        line = await self._connected(allowed)
        if command in SILENT:
            return await self._ask_silent(line, command, arguments or {}, deadline)
        return await line.collect(line.submit(command, arguments or {}), deadline)

    async def run(
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
        """As ``Client.run``."""
        from qga.client import running

        steps = running.run(list(argv), input, env, timeout, capture_output=capture_output, text=text)
        return running.checked(await self.carry_out(steps), check=check)

    async def download(self, source: str, target: str, **options: Any) -> Outcome:
        """As ``Client.download``."""
        from qga.client import copy

        return await self.carry_out(copy.download(source, target, **options))

    async def upload(self, source: str, target: str, **options: Any) -> Outcome:
        """As ``Client.upload``."""
        from qga.client import copy

        return await self.carry_out(copy.upload(source, target, **options))

    @asynccontextmanager
    async def freeze(
        self, *, timeout: float | None = None, mountpoints: Iterable[str] | None = None
    ) -> AsyncIterator[int]:
        """``async with client.freeze() as frozen:``, as ``Client.freeze``; it gives the number of filesystems."""
        if await self.guest_fsfreeze_status(timeout=timeout) == "frozen":
            raise CommandFailed("guest-fsfreeze-freeze", "the filesystems are frozen already, by another client")
        try:
            if mountpoints is None:
                frozen = await self.guest_fsfreeze_freeze(timeout=timeout)
            else:
                frozen = await self.guest_fsfreeze_freeze_list(list(mountpoints), timeout=timeout)
        except CommandNotFound:
            raise
        except BaseException as error:
            await self._thaw_after(error)
            raise
        try:
            yield frozen
        except BaseException as error:
            await self._thaw_after(error)
            raise
        await self._thaw()

    async def carry_out(self, steps: Steps[T]) -> T:
        """As ``Client.carry_out``."""
        try:
            step = next(steps)
            while True:
                try:
                    came = await self._do(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(came)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _do(self, step: Step) -> Any:
        match step:
            case Ask(command, arguments, timeout):
                return await self.call_raw(command, arguments, timeout=timeout)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
        allowed = self.timeout or TIMEOUT
        if isinstance(step, Collect):
            where, number = step.ticket
            return await where.collect(number, time.monotonic() + allowed)
        line = await self._connected(allowed)
        match step:
            case Submit(command, arguments):
                return line, line.submit(command, arguments)
            case Write(handle, encoded):
                return line, line.submit_write(handle, encoded)
            case Limits():
                return Limits(line.chunk, line.write_chunk, line.window)

    async def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        given = {name: value for name, value in arguments.items() if value is not None}
        return await self.call_raw(command, given, timeout=timeout)

    async def _ask_silent(self, line: _Line, command: str, arguments: Mapping[str, Any], deadline: float) -> None:
        deadline = min(deadline, time.monotonic() + SETTLED)
        ticket = line.submit(command, arguments, silent=True)
        try:
            line.submit("guest-ping", {})
            await line.collect(ticket, deadline)
        except (AgentUnreachable, AgentTimeout):
            self.close()

    async def _thaw_after(self, error: BaseException) -> None:
        try:
            await self._thaw()
        except ClientError as second:
            error.add_note(f"and the thaw after it failed: {second}")

    async def _thaw(self) -> None:
        deadline = time.monotonic() + THAW_TIMEOUT
        while True:
            try:
                await self.guest_fsfreeze_thaw(timeout=max(1.0, deadline - time.monotonic()))
                return
            except (AgentUnreachable, AgentTimeout, OutOfStep):
                self.close()
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(RETRY)

    async def _connected(self, timeout: float) -> _Line:
        async with self._connecting:
            if self._line is None or self._line.dead:
                kind: type[_LibvirtLine] | type[_StreamLine]
                kind = _LibvirtLine if self.address.kind == "libvirt" else _StreamLine
                self._line = await kind.connect(self.address, min(SYNC_TIMEOUT, timeout))
            return self._line
