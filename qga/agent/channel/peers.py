"""The peers of a unix socket: which users may connect, by SO_PEERCRED, see unix(7)."""

from __future__ import annotations

import logging
import pwd
import re
import socket
import struct
from collections.abc import Sequence
from typing import Protocol

from qga.agent.config.options import ConfigError

log = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


class Record(Protocol):
    """An object that keeps a record of the peer."""

    peer: object


class Peers:
    """The clients that a socket admits, by the user that the kernel names for each."""

    def __init__(self, users: Sequence[str], record: Record | None) -> None:
        """Admit only ``users``, by name or number; an empty list admits all. Raises ConfigError.

        ``record`` is given the last client that was admitted.
        """
        self._uids = frozenset(map(_uid, users))
        self._record = record
        self._refused: set[int] = set()

    def admits(self, connection: socket.socket) -> bool:
        """Return whether a client may connect; a client of any other kind of socket always may."""
        if connection.family != socket.AF_UNIX:
            if self._record is not None and connection.family == socket.AF_VSOCK:
                self._record.peer = {"cid": connection.getpeername()[0]}
            return True
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        if self._uids and uid not in self._uids:
            # One warning for each user: a client must not be able to fill the disk with them.
            level = logging.INFO if uid in self._refused else logging.WARNING
            self._refused.add(uid)
            log.log(level, "process %d of user %d is refused: socket-users does not list it", pid, uid)
            return False
        if self._record is not None:
            self._record.peer = {"uid": uid, "pid": pid}
        return True


def _uid(user: str) -> int:
    if re.fullmatch("[0-9]{1,10}", user):
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"socket-users: there is no user {user!r}") from None
