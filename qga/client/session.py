"""One conversation with an agent, without I/O: requests to bytes, bytes to replies.

It owns no descriptor and no clock. The rules it keeps: a reply reaches the request that it answers, or nobody, and it
was bounded before it was decoded and has the schema's shape (``qga.client.reading``). A session begins with
``synchronise``; nothing counts that comes before the agent's answer to it, 0xFF and the right id.
Requests may be sent before the replies to earlier ones have come: agents answer strictly in order. How many, the
session decides: QEMU's agent behind a character device reads 4096 bytes at a time, and carries out a request but
leaves out its answer where it has read more than those.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from qga.client import reading
from qga.client.errors import ClientError, MalformedReply, OutOfStep
from qga.client.operations import quoting
from qga.protocol import wire

MAX_NOISE = 1024 * 1024  # bytes without a newline that are kept while out of step
AHEAD = 4096  # bytes of requests that may be under way together

_SYNC = "guest-sync-delimited"


class Reply(NamedTuple):
    """What became of request ``number``: its return value, or its error."""

    number: int
    value: Any
    error: ClientError | None = None


class _Request(NamedTuple):
    command: str
    silent: bool  # may be: its answer may be missing
    size: int
    room: int  # bytes that its reply may have


class Session:
    """``synchronised``: whether the agent has answered the last ``synchronise``.

    ``echoed``: whether a request came back as it was sent, which consoles do and agents do not.
    ``latest``: the number of the request that ``outgoing`` has given last.
    """

    def __init__(self) -> None:
        self.synchronised = False
        self.echoed = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._held: OrderedDict[int, tuple[_Request, bytes]] = OrderedDict()  # by number; not sent yet
        self._pending: OrderedDict[int, _Request] = OrderedDict()  # by number; under way
        self._bytes = self._strict = 0  # of those under way: their bytes, and how many must be answered
        self._abandoned: set[int] = set()
        self._number = self.latest = 0
        self._sync = (0, 0)  # its request's number, and the id that is to come back

    def synchronise(self) -> bytes:
        """Begin anew: bytes to send. Earlier requests get no reply any more."""
        self.synchronised = False
        self._held.clear()
        self._pending.clear()
        self._bytes = self._strict = 0
        self._abandoned.clear()
        self._pieces, self._size = [], 0
        self._number += 1
        self._sync = (self._number, int.from_bytes(os.urandom(6), "big") + 1)
        return b"\xff" + _request(_SYNC, {"id": self._sync[1]}, self._number)

    def request(self, command: str, arguments: Mapping[str, Any], *, silent: bool = False) -> int:
        """Its number. ``silent``: success is not answered; a later reply tells of it.

        Raises ClientError for what JSON cannot hold.
        """
        try:
            data = _request(command, arguments, self._number + 1)
        except (TypeError, ValueError) as error:
            raise ClientError(f"{command}: its arguments cannot be sent: {error}", command=command) from error
        return self._hold(_Request(command, silent, len(data), reading.room(command, arguments)), data)

    def write(self, handle: int, encoded: bytes) -> int:
        """As ``request`` of guest-file-write, of base64 that is bytes: the payload is copied once, not four times.

        Many may be under way, so a reply's value is None where the agent has left it out: ask it for the position.
        """
        number = self._number + 1
        head = b'{"execute":"guest-file-write","id":%d,"arguments":{"handle":%d,"buf-b64":"' % (number, handle)
        data = b"".join((head, encoded, b'"}}\n'))
        return self._hold(_Request("guest-file-write", True, len(data), reading.MAX_REPLY), data)

    def outgoing(self) -> Iterator[bytes]:
        """What may be sent now: ask again after each request, and when replies have come."""
        while self._held:
            request, data = next(iter(self._held.values()))
            alike = request.silent and not self._strict
            if self._bytes and self._bytes + request.size > AHEAD and not alike:
                return
            self.latest, _ = self._held.popitem(last=False)
            self._pending[self.latest] = request
            self._bytes += request.size
            self._strict += not request.silent
            yield data

    def abandon(self, number: int, *, sent: bool = True) -> None:
        """Nobody waits for this reply any more: it is dropped when it comes, and holds up nothing.

        ``sent`` False: ``outgoing`` has given the request, and no byte of it has left, nor ever will.
        """
        if number in self._pending:
            request = self._pending[number]
            self._ended(request)
            if sent:
                self._abandoned.add(number)
                self._pending[number] = request._replace(silent=True, size=0)
            else:
                del self._pending[number]
        self._held.pop(number, None)

    def command(self, number: int) -> str:
        """What the request asked, while it has no reply."""
        if number in self._held:
            return self._held[number][0].command
        return self._pending[number].command if number in self._pending else "the agent"

    def receive(self, data: bytes) -> list[Reply]:
        """The replies that ``data`` completes. Raises OutOfStep if it is no reply; then only synchronising helps."""
        end = data.rfind(b"\n") + 1
        replies: list[Reply] = []
        if end:
            lines = b"".join((*self._pieces, data[:end])) if self._pieces else data[:end]
            self._pieces, self._size = [], 0
            if lines.find(b"\n") == len(lines) - 1:  # one: a large one is not copied once more
                self._line(lines, replies)
            else:
                for line in lines.split(b"\n")[:-1]:
                    self._line(line, replies)
            data = data[end:]
        if data:
            self._keep(data)
        return replies

    def _hold(self, request: _Request, data: bytes) -> int:
        self._number += 1
        self._held[self._number] = (request, data)
        return self._number

    def _bound(self, size: int) -> None:
        """A line has so many bytes, or more: raises OutOfStep if no reply that is awaited may."""
        if size <= reading.MAX_REPLY:
            return
        most = max((request.room for request in self._pending.values()), default=0)
        if size > max(most, reading.MAX_REPLY):
            self._pieces, self._size = [], 0
            raise OutOfStep(f"the agent sent a reply of more than {max(most, reading.MAX_REPLY) >> 20} MiB: refused")

    def _keep(self, data: bytes) -> None:
        if not self.synchronised:
            start = data.rfind(b"\xff")
            if start >= 0 or self._size > MAX_NOISE:
                self._pieces, self._size = [], 0
                data = data[max(start, 0) :]
        self._pieces.append(data)
        self._size += len(data)
        self._bound(self._size)

    def _line(self, line: bytes, replies: list[Reply]) -> None:
        if not self.synchronised:
            self._look_for_sync(line, replies)
            return
        if line.isspace() or not line:
            return
        self._bound(len(line))
        body = reading.parsed(line.lstrip(b"\xff"))  # before the answer to a guest-sync-delimited
        if not isinstance(body, dict):
            raise OutOfStep(f"the agent sent what is no reply: {reading.shown(body)}")
        if "return" in body or "error" in body:  # anything else is an event or a greeting
            self._reply(body, line, replies)

    def _look_for_sync(self, line: bytes, replies: list[Reply]) -> None:
        """Whatever is no answer to the last ``synchronise`` is dropped."""
        delimited = line.rfind(b"\xff")
        try:
            body = reading.parsed(line[delimited + 1 :])
        except OutOfStep:
            return
        if not isinstance(body, dict):
            return
        number, sync = self._sync
        arguments = body.get("arguments")
        if body.get("execute") == _SYNC and isinstance(arguments, dict) and arguments.get("id") == sync:
            self.echoed = True
        elif delimited >= 0 and type(body.get("return")) is int and body["return"] == sync:
            self.synchronised = True
            replies.append(Reply(number, sync))
        elif "error" in body and type(body.get("id")) is int and body["id"] == number:
            replies.append(Reply(number, None, reading.failed(_SYNC, body["error"])))

    def _reply(self, body: dict[str, Any], line: bytes, replies: list[Reply]) -> None:
        if "id" in body:
            number = body["id"]
            if type(number) is not int or number not in self._pending:
                return  # stale, or of another client
        elif self._pending:  # an agent that knows no ids, or a complaint about what is no request
            number = next(iter(self._pending))
        else:
            raise OutOfStep(
                f"the agent answered what nobody asked: {reading.shown(line[:80].decode(errors='replace'))}"
            )
        while self._pending:
            earlier, request = self._pending.popitem(last=False)
            command = request.command
            self._ended(request)
            if earlier == number:
                break
            if request.silent:
                self._tell(Reply(earlier, None), replies)
            else:
                error = OutOfStep(f"the agent left out its answer to {command}", command=command)
                self._tell(Reply(earlier, None, error), replies)
        if "error" in body:
            self._tell(Reply(number, None, reading.failed(command, body["error"])), replies)
        else:
            try:
                self._tell(Reply(number, reading.checked(command, body["return"])), replies)
            except MalformedReply as malformed:
                self._tell(Reply(number, None, malformed), replies)

    def _ended(self, request: _Request) -> None:
        self._bytes -= request.size
        self._strict -= not request.silent

    def _tell(self, reply: Reply, replies: list[Reply]) -> None:
        if reply.number in self._abandoned:
            self._abandoned.discard(reply.number)
        else:
            replies.append(reply)


def _request(command: str, arguments: Mapping[str, Any], number: int) -> bytes:
    """Raises ValueError for text that is not UTF-8: to the agent it would be another text, and so another file."""
    body: dict[str, Any] = {"execute": command, "id": number}
    if arguments:
        body["arguments"] = dict(arguments)
    if (unsayable := next(filter(None, map(quoting.first_unsayable, arguments.values())), None)) is not None:
        raise ValueError(f"'{quoting.shown(unsayable)}' is not UTF-8, and JSON carries nothing else")
    return wire.encode(body)
