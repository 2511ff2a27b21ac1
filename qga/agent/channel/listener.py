"""unix-listen and vsock-listen: a listening socket, one client at a time; the next one waits in the backlog."""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Callable

from qga.agent.channel.stream import NewSession, Stream
from qga.agent.loop import READ, Loop

log = logging.getLogger(__name__)

BACKLOG = 1  # as in QEMU
ACCEPT_PAUSE = 1.0  # seconds until the next try if no descriptors are left; trying at once would spin


class Listener:
    """A listening socket. When a client disconnects, for whatever reason, the next one is served."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        new_session: NewSession,
        admits: Callable[[socket.socket], bool] = lambda connection: True,
    ) -> None:
        """Accept clients of ``sock``, which is already listening and is closed with the listener.

        ``admits`` says whether a client may stay.
        """
        self._admits = admits
        self._loop = loop
        self._socket = sock
        self._new_session = new_session
        self._client: Stream | None = None
        sock.setblocking(False)
        self._await_client()

    def close(self) -> None:
        """Close the socket, and the connection of its client."""
        if self._client is not None:
            self._client.close()
        else:
            self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _await_client(self) -> None:
        self._loop.watch(self._socket.fileno(), READ, self._on_client)

    def _on_client(self, events: int) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client has already gone
            return
        except OSError as error:
            self._pause(error)
            return
        try:
            if not self._admits(connection):
                connection.close()
                return
        except OSError:  # it has gone meanwhile
            connection.close()
            return
        connection.setblocking(False)
        log.debug("a client is connected")
        self._loop.forget(self._socket.fileno())
        descriptor = connection.detach()
        try:
            self._client = Stream(self._loop, descriptor, self._new_session, self._on_client_gone)
        except OSError as error:  # the limit of watched descriptors is reached: epoll(7)
            os.close(descriptor)
            self._pause(error)

    def _pause(self, error: OSError) -> None:
        log.warning("cannot accept a client: %s", error.strerror)
        self._loop.forget(self._socket.fileno())
        self._loop.call_later(ACCEPT_PAUSE, self._await_client)

    def _on_client_gone(self, reason: str) -> None:
        log.debug("the client is gone: %s", reason)
        self._client = None
        self._await_client()


def listen_unix(path: str) -> socket.socket:
    """Return a listening socket at ``path``, in place of one that an earlier agent left. Raises OSError.

    Only its owner may use it, from the start: bind(2) takes the mode from the umask, which no other thread shares.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        except FileNotFoundError:
            pass
        umask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def listen_vsock(cid: int, port: int) -> socket.socket:
    """Return a listening vsock(7) socket; ``cid`` 4294967295 is any. Raises OSError."""
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    try:
        sock.bind((cid, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
