"""A file of the guest for asyncio: its methods are GuestFile's, to be awaited."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

import pybase64

from qga.client.commands import AsyncCommands
from qga.client.errors import ClientError
from qga.client.operations.requests import Limits
from qga.client.payload import WHENCE, payload, placed, written


class AsyncGuestFile:
    """Binary and unbuffered; open inside ``async with``. ``async for piece in file`` reads to the end.

    Its methods raise ClientError, and ValueError where it is not open.
    """

    def __init__(
        self, client: AsyncCommands, limits: Callable[[], Awaitable[Limits]], path: str, mode: str = "r"
    ) -> None:
        """``limits`` gives what one request of the client carries."""
        self.name, self.mode = path, mode
        self._client = client
        self._ask_limits = limits
        self._handle: int | None = None

    async def __aenter__(self) -> Self:
        self._limits = await self._ask_limits()
        self._handle = await self._client.guest_file_open(self.name, self.mode)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except ClientError as second:
            if error is None:
                raise
            error.add_note(f"and closing {self.name} failed: {second}")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read(self._limits.read):
            yield piece

    async def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, as many as one request brings; all that is left, without it."""
        if size < 0:
            return b"".join([piece async for piece in self])
        count = min(size, self._limits.read)
        reply = await self._client.guest_file_read(self._open(), count)
        return payload(reply.buf_b64, reply.count, count)

    async def write(self, data: bytes) -> int:
        """How many bytes were written: all."""
        rest = memoryview(data)
        while rest:
            piece = rest[: self._limits.write]
            reply = await self._client.guest_file_write(self._open(), pybase64.b64encode_as_string(piece))
            rest = rest[written(reply.count, len(piece)) :]
        return len(data)

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence not in WHENCE:
            raise ValueError(f"invalid whence {whence}: expected 0, 1 or 2")
        return placed((await self._client.guest_file_seek(self._open(), offset, WHENCE[whence])).position)

    async def tell(self) -> int:
        return await self.seek(0, os.SEEK_CUR)

    async def flush(self) -> None:
        await self._client.guest_file_flush(self._open())

    async def close(self) -> None:
        """Also the handle in the guest; an error of what was written late comes here."""
        handle, self._handle = self._handle, None
        if handle is not None:
            await self._client.guest_file_close(handle)

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("I/O operation on a file that is not open")
        return self._handle
