"""A line to an agent that blocks: a stream with a session on it, and a deadline on everything."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from qga.client import roads
from qga.client.errors import AgentTimeout, AgentUnreachable, OutOfStep
from qga.client.session import Reply, Session

SYNC_TIMEOUT = 5.0  # seconds that an agent has to answer the first word, as libvirt
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

    def __init__(self, address: roads.Address, timeout: float) -> None:
        self.dead = False
        self._address = address.text
        deadline = time.monotonic() + timeout
        self._stream = roads.open_stream(address, timeout)
        self._descriptor = self._stream.fileno()
        self._session = Session()
        self._out: deque[memoryview] = deque()
        self._replies: dict[int, Reply] = {}
        self._poll = select.poll()
        try:
            self._out.append(memoryview(self._session.synchronise()))
            self._write()
            while not self._session.synchronised:
                self._pump(deadline)
                for reply in self._replies.values():
                    if reply.error is not None:
                        raise reply.error
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
        self._send()
        return number

    def submit_write(self, handle: int, encoded: bytes, deadline: float) -> int:
        self._check_open()
        number = self._session.write(handle, encoded)
        self._send()
        return number

    def collect(self, ticket: int, deadline: float) -> Any:
        try:
            while ticket not in self._replies:
                self._pump(deadline)
        except AgentTimeout as error:
            error.command = self._give_up(ticket)
            error.args = (f"{error.command}: {error}",)
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

    def _give_up(self, ticket: int) -> str:
        """A request that was sent in part would swallow the next one: then only a new line helps."""
        command = self._session.command(ticket)
        self._session.abandon(ticket)
        if self._out:
            self.close()
        with contextlib.suppress(AgentUnreachable):
            self._send()  # what waited for this one
        return command

    def _check_open(self) -> None:
        if self.dead:
            raise AgentUnreachable(f"{self._address}: the connection is closed")

    def _send(self) -> None:
        if self.dead:
            return
        self._out.extend(map(memoryview, self._session.outgoing()))
        self._write()

    def _pump(self, deadline: float) -> None:
        """Wait until something can be read or written, and do it."""
        self._check_open()
        left = deadline - time.monotonic()
        self._poll.register(self._descriptor, select.POLLIN | (select.POLLOUT if self._out else 0))
        events = self._poll.poll(max(0.0, left) * 1000)
        if not events:
            raise AgentTimeout("the agent did not answer in time; it may still carry out what it was asked")
        if self._out and events[0][1] & select.POLLOUT:
            self._write()
        if events[0][1] & ~select.POLLOUT:
            self._read()

    def _write(self) -> None:
        try:
            write_out(self._descriptor, self._out)
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
        self._send()

    def _lost(self, error: OSError | None) -> NoReturn:
        self.close()
        raise AgentUnreachable(
            f"{self._address}: the other side closed the connection" + (f": {error.strerror}" if error else "")
        ) from error


def write_out(descriptor: int, out: deque[memoryview]) -> bool:
    """As much as goes without waiting; whether that was all."""
    try:
        while out:
            sent = os.write(descriptor, out[0])
            if sent == len(out[0]):
                out.popleft()
            else:
                out[0] = out[0][sent:]
    except BlockingIOError:
        return False
    return True


def silence(address: str, timeout: float, *, echoed: bool) -> str:
    """Why nobody answered, as far as it can be told from here."""
    if echoed:
        return f"{address}: what was sent came back: this is a console, not an agent"
    return (
        f"{address}: nobody answered within {timeout:g} s: "
        "no agent runs in the guest (yet), or another client holds the socket"
    )
