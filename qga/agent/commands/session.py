"""The conversation itself: synchronise, ping, list the commands."""

from __future__ import annotations

from qga.agent.context import Context
from qga.protocol.schema import INTERFACE_VERSION


def guest_sync(ctx: Context, *, id: int) -> int:  # noqa: A002  the schema's name
    return id


def guest_sync_delimited(ctx: Context, *, id: int) -> int:  # noqa: A002  the schema's name
    return id


def guest_ping(ctx: Context) -> None:
    pass


def guest_info(ctx: Context) -> dict[str, object]:
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
