"""exec --stdin: what comes on stdin goes to the guest as it comes, and no faster than its program reads.

Each piece is a file ``in.N`` in the guest; a line ``N`` in the FIFO ``in`` has the guest's script hand it on and
remove it. A FIFO alone would not do: QEMU's agent loses what one has no room for. The same FIFO takes the heartbeats
by which the guest's script knows that this tool is still there.
"""

from __future__ import annotations

import contextlib
import os
import select
import time

from qga.client.client import Client
from qga.client.errors import CommandFailed
from qga.client.operations.requests import limits
from qga.protocol import base64

_MAX_PIECES = 4  # that may wait in the guest
_HEARTBEATS = 4  # in the time that the guest waits for one
_MAX_PAUSE = 3600.0  # seconds between two heartbeats: a day's silence tells that a run is over
_STDIN = 0
_HEARTBEAT, _END = "h", "e"  # lines of the FIFO, as qga.tool.remote.guest has them


class StdinPump:
    """Call ``pump`` again and again, and ``close`` whatever happens. What one call could not send, the next does.

    Raises CommandFailed where the agent writes no files.
    """

    def __init__(self, client: Client, directory: str, linger: float, *, stdin: bool) -> None:
        """``directory`` of the guest; without ``stdin``, it sends heartbeats only."""
        self._client, self._directory = client, directory
        self._max_piece = client.carry_out(limits()).write
        self._sent = self._taken = 0  # pieces: sent to the guest, and handed on by it
        self._waiting: bytes | None = None  # was read, and is not sent yet
        self._ended = not stdin
        self._pause = min(linger / _HEARTBEATS, _MAX_PAUSE)
        self._handle = client.guest_file_open(f"{directory}/in", "r+")  # waits for no reader, and keeps it open
        self._write_line(_HEARTBEAT)

    def pump(self, seconds: float) -> bool:
        """Wait at most so long for stdin and send what came; return whether anything did."""
        if self._ended or not self._has_room():
            time.sleep(seconds)
        elif self._waiting is not None or select.select([_STDIN], [], [], seconds)[0]:
            self._send()
            return True
        if time.monotonic() - self._heartbeat >= self._pause:
            self._write_line(_HEARTBEAT)
        return False

    def close(self) -> None:
        """End the program's input; once the program has ended, the guest's script ends with it."""
        with contextlib.suppress(CommandFailed):
            if not self._ended:
                self._write_line(_END)
            self._client.guest_file_close(self._handle)

    def _send(self) -> None:
        if self._waiting is None:
            self._waiting = os.read(_STDIN, self._max_piece)
        if self._waiting:
            with self._client.open(f"{self._directory}/in.{self._sent}", "w") as file:
                rest = memoryview(self._waiting)
                while rest:
                    rest = rest[file.write(rest) :]
            self._write_line(str(self._sent))
            self._sent += 1
        else:
            self._write_line(_END)
            self._ended = True
        self._waiting = None

    def _has_room(self) -> bool:
        while self._sent - self._taken >= _MAX_PIECES:
            try:
                oldest = self._client.guest_file_open(f"{self._directory}/in.{self._taken}", "r")
            except CommandFailed:  # it has been removed: handed on
                self._taken += 1
            else:
                self._client.guest_file_close(oldest)
                return False
        return True

    def _write_line(self, line: str) -> None:
        self._client.guest_file_write(self._handle, base64.encode(f"{line}\n".encode()))
        self._client.guest_file_flush(self._handle)
        self._heartbeat = time.monotonic()
