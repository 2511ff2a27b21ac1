"""The far end of a terminal: a program on a pty in the guest, over guest-exec and guest-file-* alone.

``qga.tool.remote.guest`` has what runs there, and how it is talked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import pybase64

from qga.client.aio import AsyncClient
from qga.client.errors import ClientError, CommandFailed, CommandNotFound
from qga.client.operations.requests import together
from qga.client.payload import payload
from qga.client.reading import shown
from qga.tool.exits import ended
from qga.tool.remote import guest
from qga.tool.remote.launch import SEGMENT, Wanted, how

WINDOW = 4096  # bytes typed that are under way: four times that in the FIFO, which holds 64 KiB
LINE = 512  # bytes typed in one line
FEWEST, MOST = 1024, SEGMENT  # bytes of one read: as many as take no longer than a key may wait
SOON, LATE = 0.05, 0.2  # seconds of one read, below and above which the next one asks for more or less
BEATS = 4  # signs of life in the time that the far end waits for one
GOING = 12.0  # seconds for the far end to end: it gives its programs two, and a guest may be busy

Request = tuple[str, dict[str, Any]]


class Far:
    """``await begin(…)``, then ``look()`` again and again until it tells a status, then ``end()`` whatever happened.

    ``busy``: whether something went one way or the other at the last look.
    """

    def __init__(self, client: AsyncClient, linger: float) -> None:
        self._client, self._linger = client, linger
        self._directory = ""
        self._pid: int | None = None
        self._status: int | None = None
        self._keys = self._out = self._taken = -1  # handles
        self._number = self._offset = 0  # of the segment, and in it
        self._lines: deque[bytes] = deque()
        self._typed = b""
        self._sent = self._known = 0  # bytes typed that were sent, and that are known to have been taken
        self._unsent: list[Request] = []
        self._told = 0  # bytes read of the file that tells
        self._beat = 0.0
        self._count = 4 * FEWEST
        self._quiet = False
        self.busy = False

    async def begin(self, wanted: Wanted) -> None:
        """Raises ClientError, also where the guest has nothing to make a terminal with.

        A cancelled one is finished first: what it makes in the guest is known then, and ``end`` can remove it.
        """
        work = asyncio.ensure_future(self._begin(wanted))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            with contextlib.suppress(ClientError, TimeoutError):
                async with asyncio.timeout(GOING):
                    await work
            raise

    async def _begin(self, wanted: Wanted) -> None:
        self._directory, by, program = await self._prepare(wanted.by)
        arguments = {"path": "sh" if by == "script" else program, **how(by, self._directory, wanted)}
        self._pid = (await self._client.call_raw("guest-exec", arguments))["pid"]
        files = {"in": "r+", "out.0": "r", "taken": "r"}  # r+: so the opening of a FIFO waits for nobody
        opened = [("guest-file-open", {"path": f"{self._directory}/{name}", "mode": files[name]}) for name in files]
        handles = await self._together(opened)
        for handle in handles:
            if isinstance(handle, CommandFailed):
                raise handle
        self._keys, self._out, self._taken = handles
        self._beat = time.monotonic()

    def type(self, data: bytes) -> None:
        self._typed += data

    def resize(self, rows: int, columns: int) -> None:
        self._lines.append(b"s %d %d\n" % (rows, columns))

    async def look(self) -> tuple[bytes, int | None]:
        """Send what waits, and see what there is to show; the program's status once all of it was seen."""
        ask_status = self._quiet and self._status is None
        following = self._offset == SEGMENT
        count = min(self._count, SEGMENT - self._offset)
        ahead = self._to_send()
        requests = [*ahead]
        known = self._known
        if self._typed:
            requests += _read(self._taken, self._told, 4096)
        if ask_status:  # before what is read: then that is the rest
            requests.append(("guest-exec-status", {"pid": self._pid}))
        if following:
            requests.append(("guest-file-open", {"path": f"{self._directory}/out.{self._number + 1}", "mode": "r"}))
        else:
            requests += _read(self._out, self._offset, count)
        start = time.monotonic()
        replies = await self._together(requests)
        self._adapt(time.monotonic() - start, count)
        if ask_status:
            self._take_status(replies[-2 if following else -3])
        if held := [request for request, reply in zip(requests, replies, strict=True) if _held(reply)]:
            self._unsent = [request for request in held if request in ahead]
            return b"", None
        last = replies.pop()
        for reply in replies if following else [*replies, last]:
            if isinstance(reply, CommandFailed):
                raise reply
        if self._typed:
            told = replies[len(ahead) + 1]
            data = payload(told["buf-b64"], told["count"], 4096)
            lines = data[: data.rfind(b"\n") + 1]
            self._told += len(lines)
            self._known = _number(lines.split()[-1]) if lines.split() else known
        if following:
            await self._follow(last)
            return b"", self._status if self._quiet else None
        data = payload(last["buf-b64"], last["count"], count)
        self._offset += len(data)
        self._quiet = not data
        self.busy |= bool(data) or self._known > known
        return data, self._status if self._quiet else None

    async def end(self) -> None:
        """Nothing stays in the guest. Where the agent is gone, the far end finds out by itself."""
        if not self._directory:
            return
        try:
            async with asyncio.timeout(GOING):
                await self._end()
        except (ClientError, TimeoutError) as error:
            text = f"the program in the guest ends within {self._linger:g} s, if it has not"
            raise ClientError(f"{str(error) or 'the agent does not answer'}; {text}") from None

    async def _prepare(self, by: Sequence[str]) -> list[str]:
        try:
            made = await self._client.run(guest.command("terminal_prepare.sh", " ".join(by)), text=True)
        except CommandNotFound:
            raise
        except CommandFailed as error:
            raise ClientError(f"no terminal can be made without sh in the guest: {error}") from None
        if made.returncode:
            raise ClientError(f"no directory for a terminal can be made in the guest: {made.stderr.strip()}")
        told: list[str] = made.stdout.split("\n")
        if len(told) < 3:
            raise ClientError(f"the guest's sh did not say where a terminal is: {shown(made.stdout)}")
        if not told[2]:
            raise ClientError(f"the guest has no {' and no '.join(by)}: no terminal can be made there")
        return told[:3]

    def _take_status(self, reply: Any) -> None:
        """Agents tell of an end once."""
        if not isinstance(reply, CommandFailed) and reply["exited"]:
            self._status = ended(reply)

    def _to_send(self) -> list[Request]:
        if unsent := self._unsent:
            self._unsent = []
            return unsent
        room = WINDOW - (self._sent - self._known)
        while self._typed and room > 0:
            piece, self._typed = self._typed[: min(LINE, room)], self._typed[min(LINE, room) :]
            self._lines.append(b"d" + b"".join(b"\\%03o" % byte for byte in piece) + b"\n")
            self._sent += len(piece)
            room -= len(piece)
        self.busy = bool(self._lines)
        now = time.monotonic()
        if not self._lines and now - self._beat >= self._linger / BEATS:
            self._lines.append(b"h\n")
        if not self._lines:
            return []
        data = pybase64.b64encode_as_string(b"".join(self._lines))
        self._lines.clear()
        self._beat = now
        handle = {"handle": self._keys}
        return [("guest-file-write", {**handle, "buf-b64": data}), ("guest-file-flush", handle)]

    async def _follow(self, opened: Any) -> None:
        """Go on with the next segment, if it is there already."""
        if isinstance(opened, CommandFailed):
            self._quiet = True
            return
        await self._client.call_raw("guest-file-close", {"handle": self._out})
        self._lines.append(b"a %d\n" % self._number)
        self._out, self._number, self._offset, self._quiet = opened, self._number + 1, 0, False
        self.busy = True

    def _adapt(self, seconds: float, count: int) -> None:
        """A slow road, as a serial line, must not keep a key waiting behind a long read."""
        if seconds < SOON and count == self._count:
            self._count = min(MOST, self._count * 2)
        elif seconds > LATE:
            self._count = max(FEWEST, self._count // 2)

    async def _end(self) -> None:
        if self._status is None and self._pid is not None:
            await self._client.run(guest.command("terminal_end.sh", self._directory))
            while not (await self._client.call_raw("guest-exec-status", {"pid": self._pid}))["exited"]:
                await asyncio.sleep(0.05)
        for handle in (self._keys, self._out, self._taken):
            with contextlib.suppress(CommandFailed):  # none, or of an agent that was started anew
                await self._client.call_raw("guest-file-close", {"handle": handle})
        await self._client.run(["rm", "-rf", "--", self._directory])

    async def _together(self, requests: Sequence[Request]) -> list[Any]:
        return await self._client.carry_out(together(requests))


def _number(word: bytes) -> int:
    if not word.isdigit() or len(word) > 18:
        raise ClientError(
            f"the terminal's far end: expected how many bytes it took, got {shown(word.decode('latin-1'))}"
        )
    return int(word)


def _held(reply: Any) -> bool:
    """While filesystems are frozen, by another client of libvirt's, agents refuse all of this for some seconds."""
    return isinstance(reply, CommandNotFound) and reply.disabled


def _read(handle: int, offset: int, count: int) -> list[Request]:
    """QEMU's agent remembers that a file was at its end: only a seek makes it look again."""
    place = {"handle": handle, "offset": offset, "whence": "set"}
    return [("guest-file-seek", place), ("guest-file-read", {"handle": handle, "count": count})]
