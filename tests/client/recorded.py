"""A connection without a driver: a test passes the bytes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from qga.client.connection import Connection
from qga.client.errors import ClientError


class Reply(NamedTuple):
    """What became of a ticket."""

    ticket: int
    value: Any
    error: ClientError | None = None


class RecordedConnection(Connection):
    """``outgoing`` has what may be sent now, ``replies`` what comes of bytes. ``ended``: the error that closed it."""

    def __init__(self) -> None:
        super().__init__("test")
        self.ended: ClientError | None = None
        self._woken: list[int] = []

    def outgoing(self) -> list[bytes]:
        lines: list[bytes] = []

        def write(data: memoryview) -> int:
            lines.append(bytes(data))
            return len(data)

        assert self.send(write)
        return lines

    def replies(self, data: bytes) -> list[Reply]:
        """Raises what closed the connection."""
        self.receive(data)
        if self.ended is not None:
            raise self.ended
        return list(self._taken())

    def wake(self, ticket: int) -> None:
        self._woken.append(ticket)

    def close(self, error: ClientError | None = None) -> None:
        self.ended = error
        super().close(error)

    def _taken(self) -> Iterator[Reply]:
        while self._woken:
            ticket = self._woken.pop(0)
            try:
                yield Reply(ticket, self.take(ticket))
            except ClientError as error:
                yield Reply(ticket, None, error)


def begun(connection: RecordedConnection) -> tuple[int, int]:
    """The ticket of the synchronising, and the id that it asks for."""
    ticket = connection.synchronise()
    (data,) = connection.outgoing()
    assert data[:1] == b"\xff"
    body = json.loads(data[1:])
    assert (body["execute"], body["id"]) == ("guest-sync-delimited", ticket)
    return ticket, body["arguments"]["id"]


def synchronised() -> RecordedConnection:
    connection = RecordedConnection()
    ticket, sync = begun(connection)
    assert connection.replies(b'\xff{"return": %d, "id": %d}\n' % (sync, ticket)) == [Reply(ticket, sync)]
    return connection


def send(connection: RecordedConnection, command: str, *, silent: bool = False) -> int:
    """The ticket of a request that has been sent at once."""
    ticket = connection.submit(command, {}, silent=silent)
    assert len(connection.outgoing()) == 1
    return ticket


def write(connection: RecordedConnection, handle: int, encoded: bytes) -> int:
    """The ticket of a piece of a copy."""
    return connection.submit("guest-file-write", {"handle": handle, "buf-b64": encoded}, silent=True)
