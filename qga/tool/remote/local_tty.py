"""The near end of a terminal: this machine's, raw for as long as it lasts, and given back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Self

_STDIN, _STDOUT = 0, 1
_PIECE = 4096  # bytes of one write: a terminal that stops taking them holds up no more
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

HELP = b"\r\n ~.  leave the guest, and end what runs there\r\n ~~  the ~ itself\r\n ~?  this\r\n"


class Escape:
    """``~`` at the beginning of a line is for this tool, as in ssh."""

    def __init__(self, leave: Callable[[], None], show: Callable[[bytes], object]) -> None:
        self._leave, self._show = leave, show
        self._fresh, self._held = True, False

    def filter(self, data: bytes) -> bytes:
        """What is for the guest."""
        kept = bytearray()
        for byte in data:
            if self._held:
                self._held = False
                if byte == ord("."):
                    self._leave()
                    return bytes(kept)
                if byte == ord("?"):
                    self._show(HELP)
                    continue
                if byte != ord("~"):
                    kept.append(ord("~"))
            elif self._fresh and byte == ord("~"):
                self._held = True
                continue
            kept.append(byte)
            self._fresh = byte in b"\r\n"
        return bytes(kept)


class Near:
    """``with Near() as near``: signals are caught; after ``raw()`` keys are, too.

    ``left``: done once the user wants to leave, with None, or a signal says so, with its number.
    """

    def __init__(self) -> None:
        self.resized = False
        self.left: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._typed = bytearray()
        self._news = asyncio.Event()
        self._escape = Escape(lambda: self._leave(None), _write)
        self._modes = termios.tcgetattr(_STDIN)

    def __enter__(self) -> Self:
        for number in _ENDING:
            self._loop.add_signal_handler(number, self._leave, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """The signals stay caught: what is done in the guest after this must not be cut off."""
        self._loop.remove_reader(_STDIN)
        self._loop.remove_signal_handler(signal.SIGCONT)
        with contextlib.suppress(termios.error):  # it is gone
            termios.tcsetattr(_STDIN, termios.TCSANOW, self._modes)

    def raw(self) -> None:
        self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        self._loop.add_signal_handler(signal.SIGCONT, self._set)  # a shell that stopped us has its own modes
        self._loop.add_reader(_STDIN, self._read)
        self._set()

    def take(self) -> bytes:
        """What was typed since the last time."""
        data = bytes(self._typed)
        self._typed.clear()
        return data

    async def wait(self, seconds: float) -> None:
        """Until something was typed or the size has changed, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def show(self, data: bytes) -> None:
        if not os.isatty(_STDOUT):
            _write(data)
            return
        for start in range(0, len(data), _PIECE):
            writable = asyncio.Event()
            self._loop.add_writer(_STDOUT, writable.set)
            try:
                await writable.wait()
            finally:
                self._loop.remove_writer(_STDOUT)
            _write(data[start : start + _PIECE])

    def _set(self) -> None:
        tty.setraw(_STDIN, termios.TCSANOW)
        self._resize()

    def _resize(self) -> None:
        self.resized = True
        self._news.set()

    def _read(self) -> None:
        try:
            data = os.read(_STDIN, 65536)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._loop.remove_reader(_STDIN)
            self._leave(signal.SIGHUP)
            return
        self._typed += self._escape.filter(data)
        self._news.set()

    def _leave(self, number: int | None) -> None:
        if not self.left.done():
            self.left.set_result(number)


def size() -> tuple[int, int]:
    """Rows and columns."""
    columns, rows = os.get_terminal_size(_STDIN)
    return rows, columns


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(_STDOUT, data) :]
