"""Freezing the guest's filesystems for a snapshot, and thawing them: see qga.agent.state.freezer."""

from __future__ import annotations

from qga.agent.context import Context


def guest_fsfreeze_status(ctx: Context) -> str:
    """Return the state of the freeze; an agent that was restarted meanwhile knows it from the marker file."""
    return "frozen" if ctx.freezer.state.frozen else "thawed"


async def guest_fsfreeze_freeze(ctx: Context) -> int:
    """Run the hooks, freeze all filesystems by FIFREEZE of linux/fs.h, and return how many were frozen."""
    return await ctx.freezer.freeze()


async def guest_fsfreeze_freeze_list(ctx: Context, *, mountpoints: list[str] | None = None) -> int:
    """Run the hooks, freeze what is mounted at ``mountpoints``, or all without them, and return how many."""
    return await ctx.freezer.freeze(mountpoints)


async def guest_fsfreeze_thaw(ctx: Context) -> int:
    """Thaw all filesystems by FITHAW of linux/fs.h, run the hooks, and return how many were frozen.

    Raises CommandError where the freeze has ended before this: what was copied meanwhile is not consistent.
    """
    return await ctx.freezer.thaw()
