"""This machine's end of a terminal: raw for as long as the session lasts, and restored after it."""

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
_MAX_WRITE = 4096  # bytes at a time: a terminal that stops taking them holds up no more
_MAX_READ = 65536  # bytes
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

HELP = (
    b"\r\n ~.  leave, and end what runs in the guest"
    b"\r\n ~~  type a ~ (at the beginning of a line)"
    b"\r\n ~?  show this help\r\n"
)


class Escape:
    """``~`` at the beginning of a line is for this tool, as in ssh."""

    def __init__(self, leave: Callable[[], None], write: Callable[[bytes], object]) -> None:
        self._leave, self._write = leave, write
        self._is_line_start, self._has_tilde = True, False

    def filter(self, data: bytes) -> bytes:
        """Return what of the typed bytes is for the guest."""
        kept = bytearray()
        for byte in data:
            if self._has_tilde:
                self._has_tilde = False
                if byte == ord("."):
                    self._leave()
                    return bytes(kept)
                if byte == ord("?"):
                    self._write(HELP)
                    continue
                if byte != ord("~"):
                    kept.append(ord("~"))
            elif self._is_line_start and byte == ord("~"):
                self._has_tilde = True
                continue
            kept.append(byte)
            self._is_line_start = byte in b"\r\n"
        return bytes(kept)


class LocalTerminal:
    """``with LocalTerminal() as terminal``: signals are caught; after ``set_raw()`` keys are, too.

    ``left``: done once the user wants to leave, with None, or a signal says so, with its number. ``is_resized``: the
    size has changed, until the caller sets this back.
    """

    def __init__(self) -> None:
        self.is_resized = False
        self.left: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._typed = bytearray()
        self._changed = asyncio.Event()
        self._escape = Escape(lambda: self._leave(None), _write)
        self._modes = termios.tcgetattr(_STDIN)

    def __enter__(self) -> Self:
        for number in _ENDING:
            self._loop.add_signal_handler(number, self._leave, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Restore the terminal. The signals stay caught: what is done in the guest after this must not be cut off."""
        self._loop.remove_reader(_STDIN)
        self._loop.remove_signal_handler(signal.SIGCONT)
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(_STDIN, termios.TCSANOW, self._modes)

    def set_raw(self) -> None:
        """Take every key as it is typed, and follow the terminal's size."""
        self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        self._loop.add_signal_handler(signal.SIGCONT, self._set)  # a shell that stopped us has its own modes
        self._loop.add_reader(_STDIN, self._read)
        self._set()

    def take(self) -> bytes:
        """Return what was typed since the last call."""
        data = bytes(self._typed)
        self._typed.clear()
        return data

    async def wait(self, seconds: float) -> None:
        """Wait until something is typed or the size changes, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    async def write(self, data: bytes) -> None:
        """Show what the guest wrote, as fast as the terminal takes it."""
        if not os.isatty(_STDOUT):
            _write(data)
            return
        for start in range(0, len(data), _MAX_WRITE):
            writable = asyncio.Event()
            self._loop.add_writer(_STDOUT, writable.set)
            try:
                await writable.wait()
            finally:
                self._loop.remove_writer(_STDOUT)
            _write(data[start : start + _MAX_WRITE])

    def _set(self) -> None:
        tty.setraw(_STDIN, termios.TCSANOW)
        self._resize()

    def _resize(self) -> None:
        self.is_resized = True
        self._changed.set()

    def _read(self) -> None:
        try:
            data = os.read(_STDIN, _MAX_READ)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._loop.remove_reader(_STDIN)
            self._leave(signal.SIGHUP)
            return
        self._typed += self._escape.filter(data)
        self._changed.set()

    def _leave(self, number: int | None) -> None:
        if not self.left.done():
            self.left.set_result(number)


def size() -> tuple[int, int]:
    """Return the terminal's rows and columns."""
    columns, rows = os.get_terminal_size(_STDIN)
    return rows, columns


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(_STDOUT, data) :]
