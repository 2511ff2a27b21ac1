"""A file of the guest as a file object: shutil, tarfile, io.BufferedReader and their kin take it."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import pybase64

from qga.client.commands import Commands
from qga.client.errors import ClientError
from qga.client.operations.requests import Limits
from qga.client.payload import WHENCE, payload, placed, written


class GuestFile(io.RawIOBase):
    """Binary and unbuffered: each read or write is a request: ask for much at a time, or wrap it in ``io.Buffered…``.

    ``mode`` is fopen(3)'s: r, w, a, each with + or b. Its methods raise ClientError; what is unsupported,
    io.UnsupportedOperation. An open file holds a handle in the guest until it is closed.
    """

    def __init__(self, client: Commands, limits: Limits, path: str, mode: str = "r") -> None:
        """``limits``: what one request of the client carries."""
        self._handle: int | None = None
        super().__init__()
        self.name = path
        self.mode = mode
        self._client = client
        self._limits = limits
        self._handle = client.guest_file_open(path, mode)

    def readable(self) -> bool:
        return self.mode.startswith("r") or "+" in self.mode

    def writable(self) -> bool:
        return not self.mode.startswith("r") or "+" in self.mode

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._limits.read)
        if not count:
            return 0
        reply = self._client.guest_file_read(self._open(), count)
        data = payload(reply.buf_b64, reply.count, count)
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        pieces = []
        while piece := self.read(self._limits.read):
            pieces.append(piece)
        return b"".join(pieces)

    def write(self, data: Any, /) -> int:
        """How many bytes were written: all, up to what one request carries."""
        piece = memoryview(data).cast("B")[: self._limits.write]
        if not piece:
            return 0
        reply = self._client.guest_file_write(self._open(), pybase64.b64encode_as_string(piece))
        return written(reply.count, len(piece))

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence not in WHENCE:
            raise ValueError(f"invalid whence {whence}: expected 0, 1 or 2")
        return placed(self._client.guest_file_seek(self._open(), offset, WHENCE[whence]).position)

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def truncate(self, size: int | None = None, /) -> int:
        raise io.UnsupportedOperation("a guest agent cannot truncate a file")

    def flush(self) -> None:
        super().flush()
        if self._handle is not None and self.writable():
            self._client.guest_file_flush(self._handle)

    def close(self) -> None:
        """Also the handle in the guest; an error of what was written late comes here."""
        if self.closed:
            return
        try:
            super().close()
        finally:
            handle, self._handle = self._handle, None
            if handle is not None:
                self._client.guest_file_close(handle)

    def __del__(self) -> None:
        with contextlib.suppress(ClientError):
            super().__del__()

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("I/O operation on closed file")
        return self._handle
