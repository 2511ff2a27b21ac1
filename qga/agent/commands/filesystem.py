"""The guest's mounted filesystems: listing and trimming them."""

from __future__ import annotations

import logging
import os
import signal

from qga.agent.context import Context
from qga.agent.linux import block, trimming
from qga.agent.linux.diskaddress import disk_address
from qga.agent.linux.mounts import GoneError, Mount, list_mounts, opened, without

log = logging.getLogger(__name__)

TRIM_LIMIT = 86400.0  # seconds: a large disk behind a slow network takes hours


def guest_get_fsinfo(ctx: Context) -> list[dict[str, object]]:
    """Return the filesystems on block devices, the last mounted first, except those in ``exclude-fs``.

    Source: /proc/self/mountinfo, proc(5); statvfs(3) for the sizes; sysfs for the disks beneath.
    """
    found = (_filesystem(ctx, mount) for mount in reversed(_mounts(ctx)))
    return [filesystem for filesystem in found if filesystem is not None]


def _mounts(ctx: Context) -> list[Mount]:
    return without(list_mounts(ctx.host), ctx.config.exclude_fs)


def _filesystem(ctx: Context, mount: Mount) -> dict[str, object] | None:
    """Return a GuestFilesystemInfo, or None if the filesystem has been unmounted meanwhile."""
    sizes = _sizes(ctx, mount)
    if sizes is None:
        return None
    number = f"{mount.major}:{mount.minor}"
    name, addresses = number, []
    try:
        path = block.resolved(ctx.host.path(f"/sys/dev/block/{number}"))
        disks = block.list_hardware(ctx.host, path)
        name = os.path.basename(path)
        addresses = [disk_address(ctx.host, disk) for disk in disks]
    except OSError as error:
        log.debug("%s: no device %s: %s", mount.mountpoint, number, error)
    return {
        "name": name,
        "mountpoint": mount.mountpoint,
        "type": mount.fstype,
        **sizes,
        "disk": [address for address in addresses if address is not None],
    }


def _sizes(ctx: Context, mount: Mount) -> dict[str, int] | None:
    """Return sizes in bytes: statvfs(3). Empty if they cannot be read, and None if it has been unmounted."""
    try:
        with opened(ctx.host, mount, os.O_PATH) as descriptor:
            stat = ctx.host.statvfs(descriptor)
    except GoneError:
        return {} if mount.hidden else None
    except OSError:
        return {}
    used = stat.f_blocks - stat.f_bfree
    return {
        "used-bytes": used * stat.f_frsize,
        "total-bytes": (used + stat.f_bavail) * stat.f_frsize,
        "total-bytes-privileged": stat.f_blocks * stat.f_frsize,
    }


async def guest_fstrim(ctx: Context, *, minimum: int = 0) -> dict[str, object]:
    """Discard the unused blocks of each filesystem that guest-get-fsinfo lists, with the ioctl FITRIM (linux/fs.h).

    A worker does this; it may take TRIM_LIMIT seconds and ends with the agent.
    """
    return {"paths": await ctx.workers(lambda: _trim_all(ctx, minimum), TRIM_LIMIT, signal.SIGKILL)}


def _trim_all(ctx: Context, minimum: int) -> list[dict[str, object]]:
    found = (_trim(ctx, mount, minimum) for mount in reversed(_mounts(ctx)))
    return [trimmed for trimmed in found if trimmed is not None]


def _trim(ctx: Context, mount: Mount, minimum: int) -> dict[str, object] | None:
    """Trim a filesystem and return the result, or None if it has been unmounted meanwhile."""
    outcome = trimming.trim(ctx.host, mount, minimum)
    if outcome is None:
        return None
    members = {
        "path": mount.mountpoint,
        "trimmed": outcome.trimmed,
        "minimum": outcome.minimum,
        "error": outcome.error,
    }
    return {name: value for name, value in members.items() if value is not None}
