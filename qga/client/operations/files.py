"""A file of the guest, as an operation uses it: opened, read, written, sought in, and closed whatever happens."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Any, Self

from qga.client.connection import Limits
from qga.client.errors import ClientError
from qga.client.operations.requests import Ask, limits
from qga.client.payload import WHENCE, payload, placed, written
from qga.protocol import base64


class File:
    """Binary and unbuffered; open inside ``async with``, or from ``open`` to ``close``.

    ``mode`` is fopen(3)'s: r, w, a, each with + or b. ``limits``: what one request carries, once it is open. Its
    methods raise ClientError, and ValueError where it is not open.
    """

    def __init__(self, path: str, mode: str = "r") -> None:
        self.path, self.mode = path, mode
        self.limits = Limits()
        self._handle: int | None = None

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Flush what was written, and close the file; after an error only close it, as far as that goes."""
        if error is None and self.writable:
            await self.close()
        else:
            with contextlib.suppress(ClientError):
                await self._release()

    @property
    def readable(self) -> bool:
        """Whether the mode allows reading."""
        return self.mode.startswith("r") or "+" in self.mode

    @property
    def writable(self) -> bool:
        """Whether the mode allows writing."""
        return not self.mode.startswith("r") or "+" in self.mode

    @property
    def handle(self) -> int:
        """The agent's number for it. Raises ValueError where it is not open."""
        if self._handle is None:
            raise ValueError(f"I/O operation on closed file: {self.path} is not open")
        return self._handle

    async def open(self) -> Self:
        """Open the file in the guest, and keep its handle."""
        self.limits = await limits()
        self._handle = await Ask("guest-file-open", {"path": self.path, "mode": self.mode})
        return self

    async def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes, as many as one request brings; none at the end."""
        handle, count = self.handle, min(size, self.limits.read)
        if not count:
            return b""
        reply: dict[str, Any] = await Ask("guest-file-read", {"handle": handle, "count": count})
        return payload(reply["buf-b64"], reply["count"], count)

    async def write(self, data: bytes | memoryview) -> int:
        """Return how many bytes were written: all, up to what one request carries."""
        handle, piece = self.handle, memoryview(data).cast("B")[: self.limits.write]
        if not piece:
            return 0
        encoded = base64.encode(piece)
        reply: dict[str, Any] = await Ask("guest-file-write", {"handle": handle, "buf-b64": encoded})
        return written(reply["count"], len(piece))

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Return the new position, in bytes from the start."""
        if whence not in WHENCE:
            raise ValueError(f"invalid whence {whence}: expected 0, 1 or 2")
        place = {"handle": self.handle, "offset": offset, "whence": WHENCE[whence]}
        reply: dict[str, Any] = await Ask("guest-file-seek", place)
        return placed(reply["position"])

    async def flush(self) -> None:
        """Have the guest write out what was written: guest-file-flush."""
        await Ask[None]("guest-file-flush", {"handle": self.handle})

    async def close(self) -> None:
        """Flush, and give the handle back; an error of what was written late is raised here."""
        try:
            if self._handle is not None and self.writable:
                await self.flush()
        finally:
            await self._release()

    async def _release(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            await Ask[None]("guest-file-close", {"handle": handle})
