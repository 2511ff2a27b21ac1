"""The bytes of a file, by pipelined guest-file-read and guest-file-write."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import pybase64

from qga.client.errors import ClientError, CommandFailed, OutOfStep
from qga.client.operations.requests import Ask, Collect, Step, Steps, Submit, Ticket, Write
from qga.client.payload import decoded, limits

Take = Callable[[bytes], None]


def fetch(handle: int, take: Take) -> Steps[None]:
    """Read to the end of the file, several requests ahead: those behind the end return nothing."""
    limit = yield from limits()
    request = Submit("guest-file-read", {"handle": handle, "count": limit.read})
    tickets: deque[Ticket] = deque()
    try:
        ended = False
        while not ended:
            while len(tickets) < limit.window:
                tickets.append((yield request))
            reply = yield Collect(tickets.popleft())
            try:
                text, ended = reply["buf-b64"], reply["eof"]
                data = decoded(text) if text else b""
            except (KeyError, TypeError):
                raise OutOfStep("guest-file-read: the reply lacks its members", command="guest-file-read") from None
            if len(data) > limit.read:
                why = f"the reply has {len(data)} bytes, of {limit.read} that were asked for"
                raise OutOfStep(f"guest-file-read: {why}", command="guest-file-read")
            ended = ended or not data
            if data:
                take(data)
    finally:
        yield from _drain(tickets)


def send(file: BinaryIO, handle: int, start: int, take: Take, sent: Callable[[int], None]) -> Steps[None]:
    """Write what is left of the file from ``start`` on, where the handle stands.

    ``take`` sees what is sent; ``sent``: how many bytes were written.
    """
    limit = yield from limits()
    tickets: deque[tuple[Ticket, int]] = deque()
    ended, answered, end = False, True, start
    try:
        while not ended or tickets:
            while not ended and len(tickets) < limit.window:
                data = file.read(limit.write)
                ended = not data
                if data:
                    tickets.append(((yield Write(handle, pybase64.b64encode(data))), len(data)))
                    take(data)
            if tickets:
                ticket, count = tickets.popleft()
                reply = yield Collect(ticket)
                if reply is None:
                    answered = False
                elif reply["count"] != count:
                    raise CommandFailed("guest-file-write", f"only {reply['count']} of {count} bytes were written")
                end += count
                sent(count)
        if not answered:
            position = yield from seek(handle, 0, "cur")
            if position != end:
                raise CommandFailed("guest-file-write", f"only {position} of {end} bytes were written")
    finally:
        yield from _drain(ticket for ticket, _ in tickets)


def seek(handle: int, offset: int, whence: str = "set") -> Steps[int]:
    reply = yield Ask("guest-file-seek", {"handle": handle, "offset": offset, "whence": whence})
    position = reply.get("position") if isinstance(reply, dict) else None
    if type(position) is not int or not 0 <= position < 1 << 63:
        raise OutOfStep("guest-file-seek: the reply has no position in the file", command="guest-file-seek")
    return position


def close_quietly(handle: int) -> Steps[None]:
    """After something else went wrong."""
    yield from _quietly(Ask("guest-file-close", {"handle": handle}))


def _drain(tickets: Iterable[Ticket]) -> Steps[None]:
    for ticket in tickets:
        yield from _quietly(Collect(ticket))


def _quietly(step: Step) -> Steps[Any]:
    with contextlib.suppress(ClientError):
        yield step
