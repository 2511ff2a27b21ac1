"""Lines to the local syslog daemon, as syslog(3) sends them.

The rule it keeps: it never blocks and never fails. syslog(3) itself waits for a daemon that does not read,
and so does logging.handlers.SysLogHandler; here a line is lost if the daemon is absent, slow or restarting.
"""

from __future__ import annotations

import socket
import time

DEV_LOG = "/dev/log"
IDENT = "qemu-ga"
FACILITY_USER = 1 << 3


class Syslog:
    """A sender of datagrams to ``path``. It connects on first use and again after a failure."""

    def __init__(self, path: str = DEV_LOG) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, created: float, priority: int, text: str) -> None:
        """Send one line. ``created`` in seconds since 1970, ``priority`` 0 to 7 as in syslog(3)."""
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(created))
        line = f"<{FACILITY_USER | priority}>{stamp} {IDENT}: {text}".encode("utf-8", "backslashreplace")
        # The second attempt is for a daemon that was restarted since the last line.
        for _ in range(2):
            try:
                self._connected().send(line)
            except BlockingIOError:
                return
            except OSError:
                self.close()
            else:
                return

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect(self._path)
            except OSError:
                sock.close()
                raise
            self._socket = sock
        return self._socket
