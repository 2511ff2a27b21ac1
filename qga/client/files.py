"""A file of the guest as a file object: shutil, tarfile, io.BufferedReader and their kin take it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from qga.client.errors import ClientError
from qga.client.operations.files import File
from qga.client.operations.requests import AsyncClient, Client


class GuestFile(io.RawIOBase):
    """Binary and unbuffered: each read or write is a request: ask for much at a time, or wrap it in ``io.Buffered…``.

    ``mode`` is fopen(3)'s: r, w, a, each with + or b. Its methods raise ClientError; what is unsupported,
    io.UnsupportedOperation. An open file holds a handle in the guest until it is closed.
    """

    def __init__(self, client: Client, path: str, mode: str = "r") -> None:
        self._file: File | None = None
        super().__init__()
        self.name, self.mode = path, mode
        self._client = client
        self._file = client.carry_out(File(path, mode).open())

    def readable(self) -> bool:
        """Return whether the mode allows reading."""
        return self._open.readable

    def writable(self) -> bool:
        """Return whether the mode allows writing."""
        return self._open.writable

    def seekable(self) -> bool:
        """Return True; in a file without positions, as a pipe, ``seek`` raises ClientError."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer by one request; return how many bytes came, 0 at the end of the file."""
        view = memoryview(buffer).cast("B")
        data = self._client.carry_out(self._open.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Return all bytes up to the end of the file."""
        return b"".join(iter(lambda: self.read(self._open.limits.read) or b"", b""))

    def write(self, data: Any, /) -> int:
        """Return how many bytes were written: all, up to what one request carries."""
        return self._client.carry_out(self._open.write(data))

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset in bytes; return the new position, counted from the start."""
        return self._client.carry_out(self._open.seek(offset, whence))

    def tell(self) -> int:
        """Return the position, in bytes from the start."""
        return self.seek(0, os.SEEK_CUR)

    def truncate(self, size: int | None = None, /) -> int:
        """Raise io.UnsupportedOperation: agents have no command for it."""
        raise io.UnsupportedOperation("a guest agent cannot truncate a file")

    def flush(self) -> None:
        """Have the guest write out what was written: guest-file-flush."""
        super().flush()
        if self._file is not None and self._file.writable:
            self._client.carry_out(self._file.flush())

    def close(self) -> None:
        """Close the file and its handle in the guest. Raises ClientError also for what was written before."""
        file, self._file = self._file, None  # so that flush, which close calls, has nothing to do
        super().close()
        if file is not None:
            self._client.carry_out(file.close())

    def __del__(self) -> None:
        with contextlib.suppress(ClientError):
            super().__del__()

    @property
    def _open(self) -> File:
        if self._file is None:
            raise ValueError("I/O operation on closed file")
        return self._file


class AsyncGuestFile:
    """The same for asyncio: open inside ``async with``. ``async for piece in file`` reads to the end.

    Its methods raise ClientError, and ValueError where it is not open.
    """

    def __init__(self, client: AsyncClient, path: str, mode: str = "r") -> None:
        self.name, self.mode = path, mode
        self._client = client
        self._file = File(path, mode)

    async def __aenter__(self) -> Self:
        await self._client.carry_out(self._file.open())
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
        while piece := await self.read(self._file.limits.read):
            yield piece

    async def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, as many as one request brings; all that is left, without it."""
        if size < 0:
            return b"".join([piece async for piece in self])
        return await self._client.carry_out(self._file.read(size))

    async def write(self, data: bytes) -> int:
        """Return how many bytes were written: all."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self._client.carry_out(self._file.write(rest)) :]
        return len(data)

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset in bytes; return the new position, counted from the start."""
        return await self._client.carry_out(self._file.seek(offset, whence))

    async def tell(self) -> int:
        """Return the position, in bytes from the start."""
        return await self.seek(0, os.SEEK_CUR)

    async def flush(self) -> None:
        """Have the guest write out what was written: guest-file-flush."""
        await self._client.carry_out(self._file.flush())

    async def close(self) -> None:
        """Close the file and its handle in the guest. Raises ClientError also for what was written before."""
        await self._client.carry_out(self._file.close())
