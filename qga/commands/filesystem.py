"""The guest's mounted filesystems."""

from __future__ import annotations

import logging

from qga.context import Context
from qga.linux import block
from qga.linux.diskaddress import disk_address
from qga.linux.mounts import Mount, list_mounts

log = logging.getLogger(__name__)


def guest_get_fsinfo(ctx: Context) -> list[dict[str, object]]:
    return [_filesystem(ctx, mount) for mount in reversed(list_mounts(ctx.host))]


def _filesystem(ctx: Context, mount: Mount) -> dict[str, object]:
    number = f"{mount.major}:{mount.minor}"
    name, addresses = number, []
    try:
        device = block.read_device(ctx.host, f"/sys/dev/block/{number}")
        name = device.name
        addresses = [disk_address(disk) for disk in block.list_hardware(ctx.host, device)]
    except OSError as error:
        log.debug("%s: no device %s: %s", mount.mountpoint, number, error)
    return {
        "name": name,
        "mountpoint": mount.mountpoint,
        "type": mount.fstype,
        **_sizes(ctx, mount),
        "disk": [address for address in addresses if address is not None],
    }


def _sizes(ctx: Context, mount: Mount) -> dict[str, int]:
    """Bytes: statvfs(3). Nothing where it cannot be asked."""
    if mount.hidden:
        return {}
    try:
        stat = ctx.host.statvfs(mount.mountpoint)
    except OSError:
        return {}
    used = stat.f_blocks - stat.f_bfree
    return {
        "used-bytes": used * stat.f_frsize,
        "total-bytes": (used + stat.f_bavail) * stat.f_frsize,
        "total-bytes-privileged": stat.f_blocks * stat.f_frsize,
    }
