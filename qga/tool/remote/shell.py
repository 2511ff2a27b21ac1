"""shell, and exec --tty: a terminal in a guest that may have no network.

This machine's terminal is ``near``, the guest's ``far``; between them one task that looks often while something goes
on, and seldom when nothing does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from qga.client.aio import AsyncClient
from qga.client.client import Client
from qga.client.errors import ClientError
from qga.tool import output
from qga.tool.exits import HELD_TOO_LONG, OURS, UsageError
from qga.tool.remote.guest_tty import Far
from qga.tool.remote.launch import Wanted, environment
from qga.tool.remote.local_tty import Near, size

_FIRST, _LAST, _SLEEPY = 0.005, 0.25, 1.0  # seconds between two looks
_AWAKE = 30.0  # seconds without anything, after which looks become rare
_GROWTH = 1.4
_ENVIRONMENT = ("TERM", "COLORTERM")  # what a terminal is, not what this machine's user has


def shell(client: Client, options: argparse.Namespace) -> int:
    """The program's own status; 125 after ``~.``."""
    if not os.isatty(0):
        raise UsageError("stdin is no terminal: for scripts there is exec without --tty")
    env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    env.update(environment(options.env))
    by = [options.pty] if options.pty else ["python3", "script"]
    user, limit = getattr(options, "user", None), getattr(options, "limit", None)  # of shell; of exec
    if user == "":
        raise UsageError("--user: expected the name of a user; without --user it is the agent's")
    wanted = Wanted(options.words, user or "", {"TERM": "dumb", **env}, by, options.linger, size())
    client.close()  # it has found the agent; what follows must not block, for a key has to reach the tool meanwhile
    return asyncio.run(_session(options.connect, options.timeout, wanted, limit))


async def _session(address: str | None, timeout: float | None, wanted: Wanted, limit: float | None) -> int:
    guest = await AsyncClient.connect(address, timeout=timeout)
    async with guest:
        far = Far(guest, wanted.linger)
        try:
            with Near() as near:
                status = await _until_left(near, _talk(near, far, wanted), limit)
        except Exception as error:  # also this machine's terminal that takes nothing any more
            try:
                await far.end()
            except ClientError:
                error.add_note(f"the program in the guest is ended within {wanted.linger:g} s")
            raise
        if status == HELD_TOO_LONG:
            output.note(f"the program had not ended after {limit:g} s: it was ended")
        await far.end()
        return status


async def _until_left(near: Near, talk: Coroutine[Any, Any, int], limit: float | None) -> int:
    """The program's status, or the tool's own."""
    work = asyncio.create_task(talk)
    first: set[asyncio.Future[Any]] = {work, near.left}
    await asyncio.wait(first, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        return work.result()
    work.cancel()
    await asyncio.wait({work})
    if not near.left.done():
        return HELD_TOO_LONG
    number = near.left.result()
    return OURS if number is None else 128 + number


async def _talk(near: Near, far: Far, wanted: Wanted) -> int:
    await far.begin(wanted)
    near.raw()
    loop = asyncio.get_running_loop()
    pause, awake = _FIRST, loop.time()
    while True:
        if near.resized:
            near.resized = False
            far.resize(*size())
        far.type(near.take())
        data, status = await far.look()
        await near.show(data)
        if status is not None:
            return status
        if far.busy:
            pause, awake = 0.0 if data else _FIRST, loop.time()
        else:
            longest = min(_LAST if loop.time() - awake < _AWAKE else _SLEEPY, wanted.linger / 4)
            pause = min(max(_FIRST, pause * _GROWTH), longest)
        await near.wait(pause)
