"""Freezing the guest's filesystems for a snapshot, and thawing them: see qga.agent.state.freezer."""

from __future__ import annotations

from qga.agent.context import Context


def guest_fsfreeze_status(ctx: Context) -> str:
    """Return whether filesystems are frozen; a restarted agent learns this from the marker file."""
    return "frozen" if ctx.freezer.state.frozen else "thawed"


async def guest_fsfreeze_freeze(ctx: Context) -> int:
    """Run the hooks, freeze all filesystems with the ioctl FIFREEZE (linux/fs.h), and return how many were frozen."""
    return await ctx.freezer.freeze()


async def guest_fsfreeze_freeze_list(ctx: Context, *, mountpoints: list[str] | None = None) -> int:
    """Run the hooks, freeze the filesystems at ``mountpoints`` (by default all), and return how many were frozen."""
    return await ctx.freezer.freeze(mountpoints)


async def guest_fsfreeze_thaw(ctx: Context) -> int:
    """Thaw all filesystems with the ioctl FITHAW (linux/fs.h), run the hooks, and return how many were frozen.

    Raises CommandError if the freeze has already ended: what was copied since then is not consistent.
    """
    return await ctx.freezer.thaw()
