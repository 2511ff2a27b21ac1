"""The guest's end of a terminal: a program on a pty in the guest, over guest-exec and guest-file-* alone.

``qga.tool.remote.guest`` has what runs there, and describes how it is talked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from qga.client import AsyncClient
from qga.client.errors import ClientError, CommandFailed, CommandNotFound
from qga.client.reading import shown
from qga.client.replies import ExecStatus
from qga.protocol import base64
from qga.tool.exits import of_status
from qga.tool.remote import guest
from qga.tool.remote.guest_input import GuestInput
from qga.tool.remote.guest_output import GuestOutput
from qga.tool.remote.launch import Program, launched
from qga.tool.remote.pipeline import Pipeline, is_accepted

_END_TIMEOUT = 12.0  # seconds: the guest gives its programs two, and it may be busy
_END_PAUSE = 0.05  # seconds between two checks whether it has ended


class GuestTerminal:
    """``await begin(…)``, then ``exchange()`` again and again until it returns a status, then ``end()`` in any case.

    ``is_active``: whether something went one way or the other at the last exchange.
    """

    def __init__(self, client: AsyncClient, linger: float) -> None:
        """``linger``: seconds that the guest lets the program live on when nothing is heard of this tool."""
        self._client, self._linger = client, linger
        self._directory = ""
        self._pid: int | None = None
        self._status: int | None = None
        self._handles: list[int] = []  # that this closes at the end, beside the output's
        self._input: GuestInput | None = None
        self._output: GuestOutput | None = None
        self.is_active = False

    async def begin(self, program: Program) -> None:
        """Start a program. Raises ClientError, also where the guest has nothing to make a terminal with.

        If this is cancelled, it is finished first: then it is known what ``end`` has to remove in the guest.
        """
        work = asyncio.ensure_future(self._begin(program))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            with contextlib.suppress(ClientError, TimeoutError):
                async with asyncio.timeout(_END_TIMEOUT):
                    await work
            raise

    def type(self, data: bytes) -> None:
        """Send what was typed, with one of the next exchanges."""
        assert self._input is not None
        self._input.type(data)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size, with one of the next exchanges."""
        assert self._input is not None
        self._input.resize(rows, columns)

    async def exchange(self) -> tuple[bytes, int | None]:
        """Send what waits; return what there is to show, and the program's exit status once all of that was read.

        While another client holds filesystems frozen, agents refuse some or all of this: it is done later.
        """
        assert self._input is not None
        assert self._output is not None
        assert self._pid is not None
        begun = time.monotonic()
        async with Pipeline() as pipeline:
            self._input.send(pipeline)
            status: asyncio.Task[ExecStatus] | None = None
            if self._output.is_drained and self._status is None:  # before what is read: then that is the rest
                status = pipeline.send(self._client.guest_exec_status(self._pid))
            self._output.send(pipeline)
        seconds = time.monotonic() - begun
        if status is not None and status.exception() is None and status.result().exited:  # agents tell this once
            self._status = of_status(status.result())
        self._input.settle(pipeline.is_refused_for_now)
        self._output.settle()
        if pipeline.is_refused_for_now:
            return b"", None
        data = self._output.receive(seconds)
        self.is_active = self._input.is_active or bool(data)
        return data, self._status if self._output.is_drained else None

    async def end(self) -> None:
        """Leave nothing in the guest. Where the agent no longer answers, the guest does so by itself.

        Raises ClientError, which says so.
        """
        if not self._directory:
            return
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await self._end()
        except (ClientError, TimeoutError) as error:
            text = f"the guest ends the program within {self._linger:g} s, if it has not ended"
            raise ClientError(f"{str(error) or 'the agent does not answer'}; {text}") from None

    async def _begin(self, program: Program) -> None:
        self._directory, candidate, path = await self._prepare(program.candidates)
        arguments, data = launched(candidate, self._directory, program)
        path = "sh" if candidate == "script" else path
        encoded = base64.encode(data)
        self._pid = (await self._client.guest_exec(path, arguments, input_data=encoded, capture_output=False)).pid
        async with Pipeline() as pipeline:
            fifo = pipeline.send(self._client.guest_file_open(f"{self._directory}/in", "r+"))  # waits for no reader
            output = pipeline.send(self._client.guest_file_open(f"{self._directory}/out.0", "r"))
            taken = pipeline.send(self._client.guest_file_open(f"{self._directory}/taken", "r"))
        self._handles = [handle.result() for handle in (fifo, output, taken) if is_accepted(handle)]
        self._input = GuestInput(self._client, fifo.result(), taken.result(), self._linger)
        self._output = GuestOutput(self._client, self._directory, output.result(), self._input.release)
        self._handles.remove(output.result())

    async def _prepare(self, candidates: Sequence[str]) -> list[str]:
        """Return the directory that was made in the guest, what makes the terminal, and the path of that."""
        try:
            made = await self._client.run(guest.command("terminal_prepare.sh", " ".join(candidates)), text=True)
        except CommandNotFound:
            raise
        except CommandFailed as error:
            raise ClientError(f"a terminal needs sh in the guest, which could not be run: {error}") from None
        if made.returncode:
            raise ClientError(f"no directory for a terminal could be made in the guest: {made.stderr.strip()}")
        lines: list[str] = made.stdout.split("\n")
        if len(lines) < 3:
            raise ClientError(
                f"the guest's sh printed {shown(made.stdout)}: expected a directory and a program, a line each"
            )
        if not lines[2]:
            raise ClientError(f"the guest has no {' and no '.join(candidates)}: a terminal needs one of them")
        return lines[:3]

    async def _end(self) -> None:
        if self._status is None and self._pid is not None:
            await self._client.run(guest.command("terminal_end.sh", self._directory))
            while not (await self._client.guest_exec_status(self._pid)).exited:
                await asyncio.sleep(_END_PAUSE)
        for handle in (*self._handles, *(self._output.handles if self._output is not None else ())):
            with contextlib.suppress(CommandFailed):  # of an agent that was restarted meanwhile
                await self._client.guest_file_close(handle)
        await self._client.run(["rm", "-rf", "--", self._directory])
