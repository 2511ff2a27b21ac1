"""Freezing the guest's filesystems for a snapshot, and thawing them: see qga.agent.state.freezer."""

from __future__ import annotations

from qga.agent.context import Context


def guest_fsfreeze_status(ctx: Context) -> str:
    return "frozen" if ctx.freezer.state.frozen else "thawed"


async def guest_fsfreeze_freeze(ctx: Context) -> int:
    return await ctx.freezer.freeze()


async def guest_fsfreeze_freeze_list(ctx: Context, *, mountpoints: list[str] | None = None) -> int:
    return await ctx.freezer.freeze(mountpoints)


async def guest_fsfreeze_thaw(ctx: Context) -> int:
    return await ctx.freezer.thaw()
