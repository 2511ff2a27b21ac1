"""shell, and exec --tty: a terminal in a guest that may have no network.

Between this machine's terminal and the guest's stands one task that exchanges often while something goes on, and
seldom when nothing does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from qga.client import AsyncClient
from qga.client.client import Client
from qga.client.errors import ClientError
from qga.tool import output
from qga.tool.exits import COMMAND_TIMED_OUT, TOOL_FAILED, UsageError
from qga.tool.remote.guest_tty import GuestTerminal
from qga.tool.remote.launch import Program, environment
from qga.tool.remote.local_tty import LocalTerminal, size

_FIRST_PAUSE, _MAX_PAUSE, _IDLE_PAUSE = 0.005, 0.25, 1.0  # seconds between two exchanges
_IDLE_AFTER = 30.0  # seconds without anything, after which exchanges become rare
_GROWTH = 1.4
_ENVIRONMENT = ("TERM", "COLORTERM")  # what a terminal is, not what this machine's user has


def shell(client: Client, options: argparse.Namespace) -> int:
    """Run a program on a terminal in the guest, and return its exit status; 125 after ``~.``."""
    if not os.isatty(0):
        raise UsageError("stdin is not a terminal: for scripts there is qga exec, without --tty")
    env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    env.update(environment(options.env))
    candidates = [options.pty] if options.pty else ["python3", "script"]
    user, limit = getattr(options, "user", None), getattr(options, "limit", None)  # of shell; of exec
    if user == "":
        raise UsageError("--user: expected the name of a user; without --user it is the agent's")
    program = Program(options.words, user or "", {"TERM": "dumb", **env}, candidates, options.linger, size())
    client.close()  # it has found the agent; what follows must not block, for a key has to reach the tool meanwhile
    return asyncio.run(_session(options.connect, options.timeout, program, limit))


async def _session(address: str | None, timeout: float | None, program: Program, limit: float | None) -> int:
    client = await AsyncClient.connect(address, timeout=timeout)
    async with client:
        guest = GuestTerminal(client, program.linger)
        try:
            with LocalTerminal() as local:
                status = await _until_left(local, _relay(local, guest, program), limit)
        except Exception as error:  # also this machine's terminal that takes nothing any more
            try:
                await guest.end()
            except ClientError:
                error.add_note(f"the guest ends the program within {program.linger:g} s")
            raise
        if status == COMMAND_TIMED_OUT:
            output.note(f"the program was still running after {limit:g} s and was ended")
        await guest.end()
        return status


async def _until_left(local: LocalTerminal, relay: Coroutine[Any, Any, int], limit: float | None) -> int:
    """Return the program's exit status, or the tool's own if the user left or the time is over."""
    work = asyncio.create_task(relay)
    first: set[asyncio.Future[Any]] = {work, local.left}
    await asyncio.wait(first, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        return work.result()
    work.cancel()
    await asyncio.wait({work})
    if not local.left.done():
        return COMMAND_TIMED_OUT
    number = local.left.result()
    return TOOL_FAILED if number is None else 128 + number


async def _relay(local: LocalTerminal, guest: GuestTerminal, program: Program) -> int:
    """Carry keys, sizes and output between the two until the program has ended; return its exit status."""
    await guest.begin(program)
    local.set_raw()
    loop = asyncio.get_running_loop()
    pause, last = _FIRST_PAUSE, loop.time()
    while True:
        if local.is_resized:
            local.is_resized = False
            guest.resize(*size())
        guest.type(local.take())
        data, status = await guest.exchange()
        await local.write(data)
        if status is not None:
            return status
        if guest.is_active:
            pause, last = 0.0 if data else _FIRST_PAUSE, loop.time()
        else:
            longest = min(_MAX_PAUSE if loop.time() - last < _IDLE_AFTER else _IDLE_PAUSE, program.linger / 4)
            pause = min(max(_FIRST_PAUSE, pause * _GROWTH), longest)
        await local.wait(pause)
