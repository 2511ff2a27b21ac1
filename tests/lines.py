"""One end of a byte stream, spoken to in lines, never waiting past a deadline: a socket, a pty's master."""

from __future__ import annotations

import os
import select
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.until import until


class Closed(ConnectionError):  # noqa: N818
    """The other side has closed the stream."""


def connected(path: Path | str) -> int:
    """A descriptor of a connection to a listening unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        return sock.detach()


class Lines:
    """Owns the descriptor. ``read_until`` keeps what it has read when it times out, so nothing is lost."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._pending = b""

    @classmethod
    def connect(cls, path: Path | str) -> Self:
        """Connect to a listening unix socket."""
        return cls(connected(path))

    @classmethod
    def connect_soon(cls, path: Path | str) -> Self:
        """Connect to a socket that is about to listen, whose path exists a moment earlier."""

        def attempt() -> list[Self]:
            try:
                return [cls.connect(path)]
            except (FileNotFoundError, ConnectionRefusedError):
                return []

        return until(attempt)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def send(self, data: bytes, timeout: float = 60) -> None:
        """Send all of it, however slowly the other side reads."""
        rest, deadline = memoryview(data), time.monotonic() + timeout
        while rest:
            self._wait(select.POLLOUT, deadline, f"could not send {len(rest)} of {len(data)} bytes")
            rest = rest[os.write(self.descriptor, rest) :]

    def read_line(self, timeout: float) -> bytes:
        """The next line without its newline; raises TimeoutError or Closed."""
        return self.read_until(b"\n", timeout)

    def read_until(self, delimiter: bytes, timeout: float) -> bytes:
        """Everything before the delimiter, which is dropped; raises TimeoutError or Closed."""
        deadline, searched = time.monotonic() + timeout, 0
        while (end := self._pending.find(delimiter, searched)) < 0:
            searched = len(self._pending)
            self._receive(deadline)
        found, self._pending = self._pending[:end], self._pending[end + len(delimiter) :]
        return found

    def read_available(self, timeout: float) -> bytes:
        """Return everything that arrives in time or had arrived, to show that nothing does."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self._receive(deadline)
        except (TimeoutError, Closed):
            found, self._pending = self._pending, b""
            return found

    def _receive(self, deadline: float) -> None:
        self._wait(select.POLLIN, deadline, f"nothing complete in time, only {self._pending[-200:]!r}")
        try:
            data = os.read(self.descriptor, 1 << 20)
        except OSError as error:
            raise Closed(f"{error.strerror} after {self._pending[-200:]!r}") from None
        if not data:
            raise Closed(f"end of file after {self._pending[-200:]!r}")
        self._pending += data

    def _wait(self, event: int, deadline: float, complaint: str) -> None:
        poll = select.poll()
        poll.register(self.descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(complaint)
