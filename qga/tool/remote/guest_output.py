"""What a terminal in the guest shows: files, one after the other, that ``qga.tool.remote.guest`` describes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from qga.client import AsyncClient
from qga.tool.remote.launch import SEGMENT
from qga.tool.remote.pipeline import Pipeline, Read, is_accepted

_MIN_READ, _MAX_READ = 1024, SEGMENT  # bytes of one read: as many as take no longer than a key may wait
_SHORT, _LONG = 0.05, 0.2  # seconds of one round, below and above which the next read asks for more or less


class GuestOutput:
    """``send`` requests into a pipeline, and behind it ``receive``; both again and again.

    ``is_drained``: whether there was nothing more at the last ``receive``.
    """

    def __init__(self, client: AsyncClient, directory: str, handle: int, release: Callable[[int], None]) -> None:
        """``handle`` is the first segment's; ``release`` is called with the number of each that was read."""
        self._client, self._directory, self._release = client, directory, release
        self._handle, self._number, self._offset = handle, 0, 0  # of the segment, and how much of it was read
        self._old: int | None = None  # the handle of the segment before, until it is closed
        self._count = 4 * _MIN_READ
        self._close: asyncio.Task[None] | None = None
        self._open: asyncio.Task[int] | None = None
        self._read: Read | None = None
        self.is_drained = False

    @property
    def handles(self) -> list[int]:
        """What is open in the guest."""
        return [self._handle] if self._old is None else [self._handle, self._old]

    def send(self, pipeline: Pipeline) -> None:
        """Ask for what comes next: the rest of this segment, or the next one if this was read to its end."""
        self._close = self._open = self._read = None
        if self._old is not None:
            self._close = pipeline.send(self._client.guest_file_close(self._old))
        if self._offset == SEGMENT:
            path = f"{self._directory}/out.{self._number + 1}"
            self._open = pipeline.send(self._client.guest_file_open(path, "r"))
        else:
            count = min(self._count, SEGMENT - self._offset)
            self._read = Read.send(pipeline, self._client, self._handle, self._offset, count)

    def settle(self) -> None:
        """Note what was closed and opened. What was read counts only if ``receive`` is called: it is read again."""
        if is_accepted(self._close):
            self._old = None
        if is_accepted(self._open):
            assert self._open is not None
            self._old, self._handle = self._handle, self._open.result()
            self._release(self._number)
            self._number, self._offset, self.is_drained = self._number + 1, 0, False

    def receive(self, seconds: float) -> bytes:
        """Return what was read, in a round that took so long. Raises ClientError."""
        if self._close is not None:
            self._close.result()
        if self._open is not None:
            self.is_drained = not is_accepted(self._open)  # the next segment is made once this one is full
            return b""
        assert self._read is not None
        data = self._read.data()
        self._offset += len(data)
        self.is_drained = not data
        self._adapt(seconds, self._read.limit)
        return data

    def _adapt(self, seconds: float, count: int) -> None:
        """Ask for less at a time where it is slow, as on a serial line: a key must not wait behind a long read."""
        if seconds < _SHORT and count == self._count:
            self._count = min(_MAX_READ, self._count * 2)
        elif seconds > _LONG:
            self._count = max(_MIN_READ, self._count // 2)
