"""What is typed on a terminal, on its way to the guest: lines of a FIFO that ``qga.tool.remote.guest`` describes."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from qga.client import AsyncClient
from qga.client.errors import ClientError
from qga.client.reading import shown
from qga.protocol import base64
from qga.tool.remote.pipeline import Pipeline, Read, is_accepted

_WINDOW = 4096  # bytes typed that are under way: four times that in the FIFO, which holds 64 KiB
_MAX_TYPED = 512  # bytes typed in one line
_MAX_READ = 4096  # bytes of the file ``taken`` that are read at a time
_HEARTBEATS = 4  # in the time that the guest waits for one


class GuestInput:
    """``send`` requests into a pipeline, and behind it ``settle``; both again and again.

    ``is_active``: whether there was something to do at the last ``send``.
    """

    def __init__(self, client: AsyncClient, fifo: int, taken: int, linger: float) -> None:
        """``fifo`` and ``taken`` are handles; ``linger``: seconds after which the guest ends what is not heard of."""
        self._client, self._fifo, self._taken_file = client, fifo, taken
        self._pause = linger / _HEARTBEATS
        self._lines: deque[bytes] = deque()
        self._typed = b""  # that is not in a line yet
        self._sent = self._taken = 0  # bytes typed: sent to the guest, and known to have reached the program
        self._offset = 0  # of what is read in the file ``taken``
        self._encoded = ""  # lines in base64 that the agent has not accepted yet
        self._is_flushed = True
        self._write: asyncio.Task[object] | None = None
        self._flush: asyncio.Task[object] | None = None
        self._read: Read | None = None
        self._last_line = time.monotonic()
        self.is_active = False

    def type(self, data: bytes) -> None:
        """Send what was typed, as soon as the program has room for it."""
        self._typed += data

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        self._lines.append(b"s %d %d\n" % (rows, columns))

    def release(self, number: int) -> None:
        """Tell the guest that this segment of output was read."""
        self._lines.append(b"a %d\n" % number)

    def send(self, pipeline: Pipeline) -> None:
        """Send what waits, or now and then a heartbeat; if more waits than may go, ask what the program has taken."""
        if self._is_flushed:
            self._gather()
        self._write = self._flush = self._read = None
        if self._encoded:
            self._write = pipeline.send(self._client.guest_file_write(self._fifo, self._encoded))
        if not self._is_flushed:
            self._flush = pipeline.send(self._client.guest_file_flush(self._fifo))
        if self._typed:
            self._read = Read.send(pipeline, self._client, self._taken_file, self._offset, _MAX_READ)

    def settle(self, is_refused_for_now: bool) -> None:
        """Note what the agent has accepted; what it refused for now is sent again. Raises ClientError otherwise."""
        if is_accepted(self._write):
            self._encoded = ""
        if is_accepted(self._flush) and not self._encoded:
            self._is_flushed = True
        if is_refused_for_now:
            return
        for request in (self._write, self._flush):
            if request is not None:
                request.result()
        if self._read is not None:
            data = self._read.data()
            lines = data[: data.rfind(b"\n") + 1]
            self._offset += len(lines)
            before, self._taken = self._taken, _last_number(lines) if lines.split() else self._taken
            self.is_active |= self._taken > before

    def _gather(self) -> None:
        """Make one write of all lines that may go now."""
        room = _WINDOW - (self._sent - self._taken)
        while self._typed and room > 0:
            piece, self._typed = self._typed[: min(_MAX_TYPED, room)], self._typed[min(_MAX_TYPED, room) :]
            self._lines.append(b"d" + b"".join(b"\\%03o" % byte for byte in piece) + b"\n")
            self._sent += len(piece)
            room -= len(piece)
        self.is_active = bool(self._lines)
        now = time.monotonic()
        if not self._lines and now - self._last_line >= self._pause:
            self._lines.append(b"h\n")
        if self._lines:
            self._encoded = base64.encode(b"".join(self._lines))
            self._is_flushed = False
            self._lines.clear()
            self._last_line = now


def _last_number(lines: bytes) -> int:
    """Return the count in the last line, which the guest has written."""
    word = lines.split()[-1]
    if not word.isdigit() or len(word) > 18:
        raise ClientError(
            f"the guest's terminal: expected a number of bytes typed, got {shown(word.decode('latin-1'))}"
        )
    return int(word)
