"""One conversation with an agent, bytes only: requests to bytes, bytes to the agent's messages.

It owns no descriptor and no clock, and knows of no tickets (``qga.client.connection``). The rules it keeps: nothing
counts that comes before the agent's answer to the synchronising, 0xFF and the right id; and a message was bounded
before it was decoded (``qga.client.reading``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from qga.client import quoting, reading
from qga.client.errors import OutOfStep
from qga.protocol import wire

MAX_NOISE = 1024 * 1024  # bytes without a newline that are kept before the session is synchronised
SYNC = "guest-sync-delimited"


class Message(NamedTuple):
    """A reply of the agent's: an object with ``return`` or ``error`` in it, and the line that it was."""

    body: dict[str, Any]
    line: bytes


class Session:
    """``synchronised``: whether the agent has answered the last ``synchronise``.

    ``echoed``: whether a request came back as it was sent, which consoles do and agents do not.
    """

    def __init__(self, room: Callable[[], int] = lambda: 0) -> None:
        """``room`` gives the bytes that a reply may have, where it may have more than ``reading.MAX_REPLY``."""
        self.synchronised = False
        self.echoed = False
        self._room = room
        self._pieces: list[bytes] = []  # of a line that has no end yet
        self._size = 0  # of the pieces, in bytes
        self._sync = (0, 0)  # its request's number, and the id that is to come back

    def synchronise(self, number: int) -> bytes:
        """Begin anew, by request ``number``; return the bytes to send."""
        self.synchronised = False
        self._pieces, self._size = [], 0
        self._sync = (number, int.from_bytes(os.urandom(6), "big") + 1)
        return b"\xff" + encode(SYNC, {"id": self._sync[1]}, number)

    def receive(self, data: bytes) -> Iterator[Message]:
        """Give the replies that ``data`` completes, up to its end.

        Raises OutOfStep for what is not a reply; then only a new session helps.
        """
        end = data.rfind(b"\n") + 1
        if end:
            lines = b"".join((*self._pieces, data[:end])) if self._pieces else data[:end]
            self._pieces, self._size = [], 0
            if lines.find(b"\n") == len(lines) - 1:  # one: a large one is not copied once more
                yield from self._line(lines)
            else:
                for line in lines.split(b"\n")[:-1]:
                    yield from self._line(line)
            data = data[end:]
        if data:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        if not self.synchronised:
            start = data.rfind(b"\xff")
            if start >= 0 or self._size > MAX_NOISE:
                self._pieces, self._size = [], 0
                data = data[max(start, 0) :]
        self._pieces.append(data)
        self._size += len(data)
        self._bound(self._size)

    def _bound(self, size: int) -> None:
        """Raise OutOfStep if no reply that is awaited may have a line of ``size`` bytes."""
        if size <= reading.MAX_REPLY:
            return
        most = max(self._room(), reading.MAX_REPLY)
        if size > most:
            self._pieces, self._size = [], 0
            raise OutOfStep(f"the agent sent a reply of more than {most >> 20} MiB: refused")

    def _line(self, line: bytes) -> Iterator[Message]:
        if not self.synchronised:
            yield from self._look_for_sync(line)
            return
        if line.isspace() or not line:
            return
        self._bound(len(line))
        body = reading.parsed(line.lstrip(b"\xff"))  # before the answer to a guest-sync-delimited
        if not isinstance(body, dict):
            raise OutOfStep(f"the agent sent what is not a reply: {reading.shown(body)}")
        if "return" in body or "error" in body:  # anything else is an event or a greeting
            yield Message(body, line)

    def _look_for_sync(self, line: bytes) -> Iterator[Message]:
        """Drop whatever is not an answer to the last ``synchronise``."""
        delimited = line.rfind(b"\xff")
        try:
            body = reading.parsed(line[delimited + 1 :])
        except OutOfStep:
            return
        if not isinstance(body, dict):
            return
        number, sync = self._sync
        arguments = body.get("arguments")
        if body.get("execute") == SYNC and isinstance(arguments, dict) and arguments.get("id") == sync:
            self.echoed = True
        elif delimited >= 0 and type(body.get("return")) is int and body["return"] == sync:
            self.synchronised = True
            yield Message({"return": sync, "id": number}, line)
        elif "error" in body and type(body.get("id")) is int and body["id"] == number:
            yield Message(body, line)


def encode(command: str, arguments: Mapping[str, Any], number: int | None) -> bytes:
    """Return a request's line, with ``number`` as its id.

    Raises TypeError or ValueError for what JSON cannot hold: text that is not UTF-8 would be another text to the
    agent, and so another file.
    """
    if isinstance(payload := arguments.get("buf-b64"), bytes):
        return _encode_write(command, arguments["handle"], payload, number)
    body: dict[str, Any] = {"execute": command}
    if number is not None:
        body["id"] = number
    if arguments:
        body["arguments"] = dict(arguments)
    if (unsayable := next(filter(None, map(quoting.first_unsayable, arguments.values())), None)) is not None:
        raise ValueError(f"'{quoting.shown(unsayable)}' is not UTF-8, and JSON carries nothing else")
    return wire.encode(body)


def _encode_write(command: str, handle: int, payload: bytes, number: int | None) -> bytes:
    """Return the line of a guest-file-write whose base64 is bytes: they are copied once, not four times."""
    head = b'{"execute":"%s",' % command.encode() + (b'"id":%d,' % number if number is not None else b"")
    return b"".join((head, b'"arguments":{"handle":%d,"buf-b64":"' % handle, payload, b'"}}\n'))
