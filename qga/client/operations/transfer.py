"""The bytes of a file, by pipelined guest-file-read and guest-file-write."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from qga.client.errors import ClientError, CommandFailed, OutOfStep
from qga.client.operations.files import File
from qga.client.operations.outcome import Count
from qga.client.operations.requests import Ticket, submit
from qga.client.payload import decoded
from qga.protocol import base64


async def fetch(source: File, take: Callable[[bytes], None]) -> None:
    """Read to the end of the file, several requests ahead: those behind the end return nothing."""
    limits = source.limits
    piece = {"handle": source.handle, "count": limits.read}
    tickets: deque[Ticket[dict[str, Any]]] = deque()
    try:
        ended = False
        while not ended:
            while len(tickets) < limits.window:
                tickets.append(await submit("guest-file-read", piece))
            reply = await tickets.popleft()
            ended = reply["eof"]
            data = decoded(reply["buf-b64"]) if reply["buf-b64"] else b""
            if len(data) > limits.read:
                why = f"the reply has {len(data)} bytes, of {limits.read} that were asked for"
                raise OutOfStep(f"guest-file-read: {why}", command="guest-file-read")
            ended = ended or not data
            if data:
                take(data)
    finally:
        await _drain(tickets)


async def send(file: BinaryIO, target: File, count: Count) -> None:
    """Write what is left of ``file`` to where the target stands, which is behind ``count.done`` bytes."""
    limits = target.limits
    tickets: deque[tuple[Ticket[dict[str, Any] | None], int]] = deque()
    ended, answered = False, True
    try:
        while not ended or tickets:
            while not ended and len(tickets) < limits.window:
                data = file.read(limits.write)
                ended = not data
                if data:
                    piece = {"handle": target.handle, "buf-b64": base64.encode_bytes(data)}
                    tickets.append((await submit("guest-file-write", piece, silent=True), len(data)))
                    count.hash(data)
            if tickets:
                ticket, size = tickets.popleft()
                reply = await ticket
                if reply is None:
                    answered = False
                elif reply["count"] != size:
                    raise CommandFailed("guest-file-write", f"only {reply['count']} of {size} bytes were written")
                count.add(size)
        if not answered:
            position = await target.seek(0, os.SEEK_CUR)
            if position != count.done:
                raise CommandFailed("guest-file-write", f"only {position} of {count.done} bytes were written")
    finally:
        await _drain(ticket for ticket, _ in tickets)


async def _drain(tickets: Iterable[Ticket[Any]]) -> None:
    """Wait for what is under way: the file must not be closed before."""
    for ticket in tickets:
        with contextlib.suppress(ClientError):
            await ticket
