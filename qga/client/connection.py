"""A line to an agent that blocks: a stream with a session on it, and a deadline on everything."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from qga.client import transport
from qga.client.errors import AgentTimeout, AgentUnreachable, OutOfStep
from qga.client.session import Reply, Session

SYNC_TIMEOUT = 5.0  # seconds that an agent has to answer the first word, as libvirt
LONGEST_POLL = 3600.0  # seconds: poll(2) takes at most 2**31 milliseconds
READ = 1024 * 1024  # bytes asked of one read


class Line(Protocol):
    """What a client needs: ``submit`` gives a ticket, ``collect`` waits for what it stands for.

    ``chunk``: the most bytes that one file request should carry; ``window``: how many may be under way.
    """

    dead: bool
    chunk: int
    write_chunk: int
    window: int

    def submit(self, command: str, arguments: Mapping[str, Any], deadline: float, *, silent: bool = False) -> int: ...
    def submit_write(self, handle: int, encoded: bytes, deadline: float) -> int: ...
    def collect(self, ticket: int, deadline: float) -> Any: ...
    def close(self) -> None: ...


class StreamLine:
    """Raises AgentUnreachable, AgentTimeout, OutOfStep, CommandFailed; ``dead`` once it cannot be used any more.

    It synchronises before anything else is sent: what is asked where nobody listens must not be carried out later.
    """

    chunk = 256 * 1024  # measured: larger ones leave the processors' caches
    write_chunk = 192 * 1024
    window = 8

    def __init__(self, address: transport.Address, timeout: float) -> None:
        self.dead = False
        self._address = address.text
        deadline = time.monotonic() + timeout
        self._stream = transport.open_stream(address, timeout)
        self._descriptor = self._stream.fileno()
        self._session = Session()
        self._sender = Sender(self._descriptor, self._session)
        self._replies: dict[int, Reply] = {}
        self._poll = select.poll()
        try:
            self._sender.begin(self._session.synchronise())
            self._write()
            self._pump_until(self._synchronised, deadline)
            self._replies.clear()
        except AgentTimeout:
            self.close()
            raise AgentTimeout(silence(address.text, timeout, echoed=self._session.echoed)) from None
        except BaseException:
            self.close()
            raise

    def submit(self, command: str, arguments: Mapping[str, Any], deadline: float, *, silent: bool = False) -> int:
        """Its reply is kept until it is collected; the deadline counts for the sending."""
        self._check_open()
        number = self._session.request(command, arguments, silent=silent)
        self._write()
        return number

    def submit_write(self, handle: int, encoded: bytes, deadline: float) -> int:
        self._check_open()
        number = self._session.write(handle, encoded)
        self._write()
        return number

    def collect(self, ticket: int, deadline: float) -> Any:
        try:
            self._pump_until(lambda: ticket in self._replies, deadline)
        except AgentTimeout as error:
            error.command = self._session.command(ticket)
            error.args = (f"{error.command}: {error}",)
            self._give_up(ticket)
            raise
        except BaseException:
            self._give_up(ticket)
            raise
        reply = self._replies.pop(ticket)
        if reply.error is not None:
            raise reply.error
        return reply.value

    def close(self) -> None:
        if not self.dead:
            self.dead = True
            self._stream.close()

    def _give_up(self, ticket: int) -> None:
        self._sender.withdraw(ticket)
        with contextlib.suppress(AgentUnreachable):
            self._write()  # what waited for this one

    def _synchronised(self) -> bool:
        for reply in self._replies.values():
            if reply.error is not None:
                raise reply.error
        return self._session.synchronised

    def _check_open(self) -> None:
        if self.dead:
            raise AgentUnreachable(f"{self._address}: the connection is closed")

    def _pump_until(self, done: Callable[[], bool], deadline: float) -> None:
        """Raises AgentTimeout, also while what comes is anything but what is waited for."""
        while not done():
            late = time.monotonic() > deadline
            if not self._pump(deadline) or (late and not done()):
                raise AgentTimeout("the agent did not answer in time; it may still carry out what it was asked")

    def _pump(self, deadline: float) -> bool:
        """Wait until something can be read or written, and do it. False if nothing could until the deadline."""
        self._check_open()
        left = deadline - time.monotonic()
        self._poll.register(self._descriptor, select.POLLIN | (select.POLLOUT if self._sender.waiting else 0))
        events = self._poll.poll(min(max(0.0, left), LONGEST_POLL) * 1000)
        if not events:
            return time.monotonic() < deadline
        if self._sender.waiting and events[0][1] & select.POLLOUT:
            self._write()
        if events[0][1] & ~select.POLLOUT:
            self._read()
        return True

    def _write(self) -> None:
        if self.dead:
            return
        try:
            self._sender.write()
        except OSError as error:
            self._lost(error)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
        if not data:
            self._lost(None)
        try:
            replies = self._session.receive(data)
        except OutOfStep:
            self.close()
            raise
        for reply in replies:
            self._replies[reply.number] = reply
        self._write()

    def _lost(self, error: OSError | None) -> NoReturn:
        self.close()
        raise AgentUnreachable(
            f"{self._address}: the other side closed the connection" + (f": {error.strerror}" if error else "")
        ) from error


class Sender:
    """Writes a session's requests to a descriptor that does not block, one after the other, as far as it goes.

    A request is taken from the session when the one before it has left, so what is given up before that is never
    sent. One that has left in part goes on to its end: the agent would take what follows for the rest of it.
    """

    def __init__(self, descriptor: int, session: Session) -> None:
        self._descriptor, self._session = descriptor, session
        self._rest = memoryview(b"")
        self._begun = False  # whether some of the request has left

    @property
    def waiting(self) -> bool:
        """Whether a request is left that the descriptor had no room for."""
        return bool(self._rest)

    def begin(self, data: bytes) -> None:
        """Send this first."""
        self._rest, self._begun = memoryview(data), True

    def write(self) -> bool:
        """As much as goes without waiting; whether that was all. Raises OSError."""
        try:
            while self._rest or self._next():
                self._rest = self._rest[os.write(self._descriptor, self._rest) :]
                self._begun = True
        except BlockingIOError:
            return False
        return True

    def withdraw(self, number: int) -> None:
        """Nobody waits for the reply to this request any more."""
        sent = self._begun or not self._rest or number != self._session.latest
        self._session.abandon(number, sent=sent)
        if not sent:
            self._rest = memoryview(b"")

    def _next(self) -> bool:
        data = next(self._session.outgoing(), b"")
        self._rest, self._begun = memoryview(data), False
        return bool(data)


def silence(address: str, timeout: float, *, echoed: bool) -> str:
    """Why nobody answered, as far as it can be told from here."""
    if echoed:
        return f"{address}: what was sent came back: this is a console, not an agent"
    return (
        f"{address}: nobody answered within {timeout:g} s: "
        "no agent runs in the guest (yet), or another client holds the socket"
    )
