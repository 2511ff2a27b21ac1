"""The session itself: synchronising with the host, ping, and listing the commands."""

from __future__ import annotations

from qga.agent.context import Context
from qga.protocol.schema import INTERFACE_VERSION


def guest_sync(ctx: Context, *, id: int) -> int:  # noqa: A002  the schema's name
    """Return the id chosen by the host, which tells this reply from late ones."""
    return id


def guest_sync_delimited(ctx: Context, *, id: int) -> int:  # noqa: A002  the schema's name
    """Return the id chosen by the host; the dispatcher puts a byte 0xFF before the reply."""
    return id


def guest_ping(ctx: Context) -> None:
    """Do nothing: the reply itself shows that the agent is running."""


def guest_info(ctx: Context) -> dict[str, object]:
    """Return all commands of the schema, each with whether the policy allows it now."""
    return {
        "version": INTERFACE_VERSION,
        "supported_commands": [
            {
                "name": command.name,
                "enabled": ctx.policy.permits(command.name),
                "success-response": command.success_response,
            }
            for command in ctx.schema.commands.values()
        ],
    }
