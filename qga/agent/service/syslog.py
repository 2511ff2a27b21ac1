"""The sender of lines to the local syslog daemon, as syslog(3) sends them.

The rule it keeps: it never blocks and never fails. syslog(3) itself waits for a daemon that does not read,
and so does logging.handlers.SysLogHandler; here a line is lost if the daemon is absent, slow or restarting.
"""

from __future__ import annotations

import socket
import time

DEV_LOG = "/dev/log"
IDENT = "qemu-ga"
ABSENCE = 5.0  # seconds until it tries again to connect to a daemon that was absent
FACILITY_USER = 1 << 3


class Syslog:
    """A sender of datagrams to ``path``. It connects on first use, and again when the daemon was restarted."""

    def __init__(self, path: str = DEV_LOG) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._absent_until = 0.0
        self._second, self._stamp = 0, ""

    @property
    def absent(self) -> bool:
        """Whether the daemon was absent a moment ago, so that a line would be lost."""
        return self._socket is None and time.monotonic() < self._absent_until

    def send(self, created: float, priority: int, text: str) -> None:
        """Send one line, with ``created`` in seconds since 1970, and ``priority`` from 0 to 7 as in syslog(3)."""
        if self.absent:
            return
        if int(created) != self._second:
            self._second = int(created)
            self._stamp = time.strftime("%b %e %H:%M:%S", time.localtime(created))
        line = f"<{FACILITY_USER | priority}>{self._stamp} {IDENT}: {text}".encode("utf-8", "backslashreplace")
        if self._socket is None or not self._sent(self._socket, line):
            sock = self._connect()
            if sock is not None:
                self._sent(sock, line)

    def close(self) -> None:
        """Close the socket, if it is open; the next line connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _sent(self, sock: socket.socket, line: bytes) -> bool:
        """Send a line, which is lost if the daemon is slow, and return False if the daemon has gone."""
        try:
            sock.send(line)
        except BlockingIOError:
            return True
        except OSError:
            self.close()
            return False
        return True

    def _connect(self) -> socket.socket | None:
        sock = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.connect(self._path)
        except OSError:
            if sock is not None:
                sock.close()
            self._absent_until = time.monotonic() + ABSENCE
            return None
        self._socket = sock
        return sock
