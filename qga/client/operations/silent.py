"""Commands that answer only when they fail: shutdown, and suspend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qga.client.errors import AgentTimeout, AgentUnreachable
from qga.client.operations.requests import Disconnect, submit

SETTLED = 5.0  # seconds: a command that is silent when it succeeds, and is still silent, has succeeded


async def ask_silent(command: str, arguments: Mapping[str, Any], timeout: float) -> None:
    """Return once the agent is past the command, has left, or has been silent for SETTLED seconds.

    A ping behind it is answered once the agent is done with it, and still there.
    """
    seconds = min(timeout, SETTLED)
    ticket = await submit(command, arguments, seconds, silent=True)
    try:
        ping = await submit("guest-ping")
        await ticket
        ping.connection.withdraw(ping.number)
    except (AgentUnreachable, AgentTimeout):
        await Disconnect()
