"""The client for asyncio: the blocking one's methods, to be awaited. Several tasks may ask at once: it pipelines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from qga.client import transport
from qga.client.asyncconnection import AsyncLibvirtLine, AsyncLine, AsyncStreamLine
from qga.client.client import RETRY, TIMEOUT, Waiting
from qga.client.commands import SILENT, AsyncCommands
from qga.client.connection import SYNC_TIMEOUT
from qga.client.errors import (
    AgentTimeout,
    AgentUnreachable,
    ClientError,
    CommandFailed,
    CommandNotFound,
    MalformedReply,
    OutOfStep,
)
from qga.client.freezing import THAW_TIMEOUT
from qga.client.operations.requests import LONGER, SETTLED, Ask, Collect, Limits, Pause, Step, Steps, Submit, Write

if TYPE_CHECKING:
    from qga.client.asyncfiles import AsyncGuestFile
    from qga.client.operations.outcome import Outcome
    from qga.client.operations.run import Completed

T = TypeVar("T")


class AsyncClient(AsyncCommands):
    """As ``qga.client.Client``; ``async with AsyncClient(address) as guest: await guest.guest_ping()``.

    For one event loop. ``download`` and ``upload`` read and write the host's own file without leaving the loop.
    """

    def __init__(self, address: str | None = None, *, timeout: float | None = None) -> None:
        """Raises AddressError; does not connect yet."""
        self.address = transport.parse(address)
        self.timeout = timeout
        self._line: AsyncLine | None = None
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

    def open(self, path: str, mode: str = "r") -> AsyncGuestFile:
        """``async with client.open(path) as file:``, a file of the guest in a mode of fopen(3)."""
        from qga.client.asyncfiles import AsyncGuestFile
        from qga.client.payload import limits

        return AsyncGuestFile(self, lambda: self.carry_out(limits()), path, mode)

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
        from qga.client.operations import run

        steps = run.run(list(argv), input, env, timeout, capture_output=capture_output, text=text)
        return run.checked(await self.carry_out(steps), check=check)

    async def download(self, source: str, target: str | BinaryIO, **options: Any) -> Outcome:
        """As ``Client.download``."""
        from qga.client.operations.download import download

        return await self.carry_out(download(source, target, **options))

    async def upload(self, source: str | BinaryIO, target: str, **options: Any) -> Outcome:
        """As ``Client.upload``."""
        from qga.client.operations import copy

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

    async def _ask_silent(self, line: AsyncLine, command: str, arguments: Mapping[str, Any], deadline: float) -> None:
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
            except MalformedReply:
                raise  # it would be no better the next time
            except (AgentUnreachable, AgentTimeout, OutOfStep):
                self.close()
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(RETRY)

    async def _connected(self, timeout: float) -> AsyncLine:
        async with self._connecting:
            if self._line is None or self._line.dead:
                kind: type[AsyncLibvirtLine] | type[AsyncStreamLine]
                kind = AsyncLibvirtLine if self.address.kind == "libvirt" else AsyncStreamLine
                self._line = await kind.connect(self.address, min(SYNC_TIMEOUT, timeout))
            return self._line
