"""A unix socket that QEMU listens on, spoken to in lines, never waiting past a deadline."""

import socket
import time
from pathlib import Path


class Closed(ConnectionError):  # noqa: N818
    """QEMU has closed its side: as a rule, it is gone."""


class LineSocket:
    """Connects at once; `read_line` keeps what it has read when it times out, so nothing is lost."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._pending = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes, timeout: float = 60) -> None:
        self._socket.settimeout(timeout)
        self._socket.sendall(data)

    def read_line(self, timeout: float) -> bytes:
        """The next line without its newline; raises TimeoutError or Closed."""
        return self.read_until(b"\n", timeout)

    def read_until(self, delimiter: bytes, timeout: float) -> bytes:
        """Everything before the delimiter, which is dropped; raises TimeoutError or Closed."""
        deadline = time.monotonic() + timeout
        searched = 0
        while (end := self._pending.find(delimiter, searched)) < 0:
            searched = len(self._pending)
            self._receive(deadline - time.monotonic(), timeout)
        found, self._pending = self._pending[:end], self._pending[end + len(delimiter) :]
        return found

    def read_available(self, timeout: float) -> bytes:
        """Whatever comes within the time, or has come before: to show that nothing does."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self._receive(deadline - time.monotonic(), timeout)
        except (TimeoutError, Closed):
            found, self._pending = self._pending, b""
            return found

    def _receive(self, remaining: float, timeout: float) -> None:
        if remaining <= 0:
            raise TimeoutError(f"nothing complete within {timeout:g} s, only {self._pending[-200:]!r}")
        self._socket.settimeout(remaining)
        try:
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            raise TimeoutError(f"nothing complete within {timeout:g} s, only {self._pending[-200:]!r}") from None
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(f"closed by QEMU after {self._pending[-200:]!r}")
        self._pending += data
