"""The conversation itself: synchronise, ping, list the commands."""

from __future__ import annotations

from qga.agent.context import Context
from qga.protocol.schema import INTERFACE_VERSION


def guest_sync(ctx: Context, *, id: int) -> int:  # noqa: A002  the schema's name
    """Return the id that the host has chosen, by which it knows this reply from late ones."""
    return id


def guest_sync_delimited(ctx: Context, *, id: int) -> int:  # noqa: A002  the schema's name
    """Return the id that the host has chosen; the dispatcher puts a byte 0xFF before the reply."""
    return id


def guest_ping(ctx: Context) -> None:
    """Do nothing: the reply itself says that the agent answers."""


def guest_info(ctx: Context) -> dict[str, object]:
    """Return the commands of the schema, and for each whether the policy allows it now."""
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
