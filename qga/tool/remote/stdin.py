"""exec: what comes on stdin goes to the guest as it comes, and no faster than its program reads; and signs of life.

Each piece is a file ``in.N`` in the guest; a line ``N`` in the FIFO ``in`` has the guest's end hand it on and remove
it. A FIFO alone would not do: QEMU's agent loses what one has no room for.
"""

from __future__ import annotations

import contextlib
import os
import select
import time

import pybase64

from qga.client.client import Client
from qga.client.errors import CommandFailed
from qga.client.operations.requests import limits

HELD = 4  # pieces that may wait in the guest
BEATS = 4  # signs of life in the time that the guest waits for one
LONGEST = 3600.0  # seconds between two: what was left of a program is known by a day's silence
_STDIN = 0


class Feeder:
    """``feed`` again and again; ``close`` whatever happened. What one call of ``feed`` could not send, the next does.

    Raises CommandFailed where the agent writes no files.
    """

    def __init__(self, client: Client, directory: str, linger: float, *, stdin: bool) -> None:
        self._client, self._directory = client, directory
        self._most = client.carry_out(limits()).write
        self._given = self._taken = 0
        self._waiting: bytes | None = None  # was read, and is not given yet
        self._ended = not stdin
        self._pause = min(linger / BEATS, LONGEST)
        self._handle = client.guest_file_open(f"{directory}/in", "r+")  # which waits for nobody, and keeps it open
        self._tell("h")

    def feed(self, seconds: float) -> bool:
        """Wait so long for stdin, and give the guest what came: whether there was something."""
        if self._ended or not self._room():
            time.sleep(seconds)
        elif self._waiting is not None or select.select([_STDIN], [], [], seconds)[0]:
            self._give()
            return True
        if time.monotonic() - self._beat >= self._pause:
            self._tell("h")
        return False

    def close(self) -> None:
        """The end of the input; after the program's end, of the guest's end too."""
        with contextlib.suppress(CommandFailed):
            if not self._ended:
                self._tell("e")
            self._client.guest_file_close(self._handle)

    def _give(self) -> None:
        if self._waiting is None:
            self._waiting = os.read(_STDIN, self._most)
        if self._waiting:
            with self._client.open(f"{self._directory}/in.{self._given}", "w") as file:
                rest = memoryview(self._waiting)
                while rest:
                    rest = rest[file.write(rest) :]
            self._tell(str(self._given))
            self._given += 1
        else:
            self._tell("e")
            self._ended = True
        self._waiting = None

    def _room(self) -> bool:
        while self._given - self._taken >= HELD:
            try:
                self._client.guest_file_close(
                    self._client.guest_file_open(f"{self._directory}/in.{self._taken}", "r")
                )
                return False
            except CommandFailed:  # it is gone: handed on
                self._taken += 1
        return True

    def _tell(self, word: str) -> None:
        self._client.guest_file_write(self._handle, pybase64.b64encode_as_string(f"{word}\n".encode()))
        self._client.guest_file_flush(self._handle)
        self._beat = time.monotonic()
