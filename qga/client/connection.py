"""The requests of one connection, without I/O: which wait, which are under way, and the reply to each.

A request has a number, its ticket. The rule kept here: a reply reaches the request that it answers, or nobody.
Requests may be sent before the replies to earlier ones have come: agents answer strictly in order. How many, is
decided here: QEMU's agent behind a character device reads 4096 bytes at a time, and carries out a request but leaves
out its answer where it has read more than those.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from qga.client import reading
from qga.client.errors import AgentTimeout, AgentUnreachable, ClientError, MalformedReply, OutOfStep
from qga.client.session import SYNC, Message, Session, encode

AHEAD = 4096  # bytes of requests that may be under way together


class Limits(NamedTuple):
    """What a connection carries: bytes of one file's read, of one write, and how many of them may be under way."""

    read: int = 0
    write: int = 0
    window: int = 0


class _Request(NamedTuple):
    command: str
    size: int  # in bytes
    silent: bool  # may be: its answer may be missing
    room: int  # bytes that its reply may have


class _Reply(NamedTuple):
    value: Any
    error: ClientError | None = None


class Connection:
    """``submit`` gives a ticket; ``send`` and ``receive`` pass bytes on; ``take`` has what came of the ticket.

    A driver overrides ``collect``; ``flush``, which is called when there may be something to send; and ``wake``,
    which is called with a ticket that has its reply.
    """

    limits = Limits(read=256 * 1024, write=192 * 1024, window=8)  # measured: more leaves the processors' caches
    numbered = True  # whether requests carry an id

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False
        self._session = Session(self._room)
        self._waiting: OrderedDict[int, tuple[_Request, bytes]] = OrderedDict()  # not sent yet
        self._under_way: OrderedDict[int, _Request] = OrderedDict()
        self._replies: dict[int, _Reply] = {}  # not taken yet
        self._given_up: set[int] = set()
        self._number = self._latest = 0  # of the request that was made last, and of the one that is being sent
        self._bytes = self._strict = 0  # of those under way: their bytes, and how many must be answered
        self._rest = memoryview(b"")  # of the request that is being sent
        self._begun = False  # whether some of it has left

    def synchronise(self) -> int:
        """Begin the conversation; the ticket is for the agent's answer."""
        data = self._session.synchronise(self._number + 1)
        return self._hold(SYNC, data, silent=False)

    def submit(self, command: str, arguments: Mapping[str, Any], *, silent: bool = False) -> int:
        """Return a ticket. ``silent``: success may not be answered; the reply to a later request tells of it.

        Of a guest-file-write, ``buf-b64`` may be bytes. Many of them may be under way if they are silent; where the
        agent has left an answer out, the value is None: ask it for the position.

        Raises ClientError for what JSON cannot hold, and AgentUnreachable once the connection is closed.
        """
        try:
            data = encode(command, arguments, self._number + 1 if self.numbered else None)
        except (TypeError, ValueError) as error:
            raise ClientError(f"{command}: its arguments cannot be sent: {error}", command=command) from error
        return self._hold(command, data, silent=silent, room=reading.room(command, arguments))

    def send(self, write: Callable[[memoryview], int]) -> bool:
        """Have ``write`` take what may be sent now, until it takes no byte; return whether it took all.

        A request is begun when the one before it has left, so what is withdrawn before that is never sent. One that
        has left in part goes on to its end: the agent would take what follows for the rest of it.
        """
        while self._rest or self._next():
            count = write(self._rest)
            if not count:
                return False
            self._rest = self._rest[count:]
            self._begun = True
        return True

    def receive(self, data: bytes) -> None:
        """Take what has come. What is not a reply closes the connection: only another one helps."""
        try:
            for message in self._session.receive(data):
                self._match(message)
        except OutOfStep as error:
            self.close(error)

    def pop(self, ticket: int) -> tuple[str, int, bytes]:
        """Take a request that was not sent, for a driver that sends whole commands.

        Return its command, how many bytes its reply may have, and its line.
        """
        request, data = self._waiting.pop(ticket)
        return request.command, request.room, data

    def collect(self, ticket: int, deadline: float) -> Any:
        """Wait for the reply, until ``deadline`` of the monotonic clock; return its value. Awaited for asyncio."""
        raise NotImplementedError

    def has(self, ticket: int) -> bool:
        """Return whether its reply can be taken."""
        return ticket in self._replies

    def take(self, ticket: int) -> Any:
        """Return the value of a reply, or raise its error."""
        value, error = self._replies.pop(ticket)
        if error is not None:
            raise error
        return value

    def withdraw(self, ticket: int) -> None:
        """Nobody waits for this reply any more: it is dropped when it comes, and holds up nothing."""
        self._replies.pop(ticket, None)
        self._waiting.pop(ticket, None)
        if (request := self._under_way.get(ticket)) is None or ticket in self._given_up:
            return
        self._end(request)
        if self._rest and not self._begun and ticket == self._latest:  # no byte of it has left, nor ever will
            del self._under_way[ticket]
            self._rest = memoryview(b"")
        else:
            self._given_up.add(ticket)
            self._under_way[ticket] = request._replace(silent=True, size=0)
        self.flush()  # what waited for this one

    def late(self, ticket: int) -> AgentTimeout:
        """Withdraw it; return the error for a reply that has not come in time."""
        request = self._waiting[ticket][0] if ticket in self._waiting else self._under_way.get(ticket)
        command = request.command if request else "the agent"
        self.withdraw(ticket)
        text = f"{command}: the agent did not answer in time; it may still carry out what it was asked"
        return AgentTimeout(text, command=command)

    def silence(self, seconds: float) -> AgentTimeout:
        """Return the error for an agent that has not answered the synchronising, and why that may be."""
        if self._session.echoed:
            return AgentTimeout(f"{self.address}: what was sent came back: this is a console, not an agent")
        return AgentTimeout(
            f"{self.address}: nobody answered within {seconds:g} s: "
            "no agent runs in the guest (yet), or another client holds the socket"
        )

    def close(self, error: ClientError | None = None) -> None:
        """End it. The error is the reply to whatever has none."""
        if self.closed:
            return
        self.closed = True
        self._rest = memoryview(b"")
        for ticket in (*self._under_way, *self._waiting):
            self._answer(ticket, _Reply(None, error or self._is_closed()))
        self._under_way.clear()
        self._waiting.clear()

    def flush(self) -> None:
        """Let the driver know that there may be something to send."""

    def wake(self, ticket: int) -> None:
        """Let the driver know that the reply to a ticket has come."""

    def _hold(self, command: str, data: bytes, *, silent: bool, room: int = reading.MAX_REPLY) -> int:
        if self.closed:
            raise self._is_closed()
        self._number += 1
        self._waiting[self._number] = _Request(command, len(data), silent, room), data
        self.flush()
        return self._number

    def _is_closed(self) -> AgentUnreachable:
        return AgentUnreachable(f"{self.address}: the connection is closed")

    def _next(self) -> bool:
        """Begin the next request, if it may be sent now."""
        if not self._waiting:
            return False
        number, (request, data) = next(iter(self._waiting.items()))
        alike = request.silent and not self._strict
        if self._bytes and self._bytes + request.size > AHEAD and not alike:
            return False
        del self._waiting[number]
        self._under_way[number] = request
        self._bytes += request.size
        self._strict += not request.silent
        self._latest, self._rest, self._begun = number, memoryview(data), False
        return True

    def _room(self) -> int:
        return max((request.room for request in self._under_way.values()), default=0)

    def _match(self, message: Message) -> None:
        """Find the request that this is the reply to. Those before it get none any more."""
        body, line = message
        if "id" in body:
            number = body["id"]
            if type(number) is not int or number not in self._under_way:
                return  # stale, or of another client
        elif self._under_way:  # an agent that knows no ids, or a complaint about what is not a request
            number = next(iter(self._under_way))
        else:
            shown = reading.shown(line[:80].decode(errors="replace"))
            raise OutOfStep(f"the agent answered what nobody asked: {shown}")
        while self._under_way:
            earlier, request = self._under_way.popitem(last=False)
            command = request.command
            self._end(request)
            if earlier == number:
                break
            missing = OutOfStep(f"the agent left out its answer to {command}", command=command)
            self._answer(earlier, _Reply(None, None if request.silent else missing))
        self._answer(number, _read(command, body))

    def _end(self, request: _Request) -> None:
        """Count a request as under way no longer."""
        self._bytes -= request.size
        self._strict -= not request.silent

    def _answer(self, number: int, reply: _Reply) -> None:
        if number in self._given_up:
            self._given_up.discard(number)
        else:
            self._replies[number] = reply
            self.wake(number)


def _read(command: str, body: Mapping[str, Any]) -> _Reply:
    if "error" in body:
        return _Reply(None, reading.failed(command, body["error"]))
    try:
        return _Reply(reading.checked(command, body["return"]))
    except MalformedReply as error:
        return _Reply(None, error)
