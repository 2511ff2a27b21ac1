"""The guest's disks and their I/O statistics."""

from __future__ import annotations

import logging

from qga.agent.context import Context
from qga.agent.linux import block, diskstats, nvme
from qga.agent.linux.block import Device
from qga.agent.linux.diskaddress import disk_address
from qga.protocol.errors import CommandError

log = logging.getLogger(__name__)


def guest_get_disks(ctx: Context) -> list[dict[str, object]]:
    """Return the disks in /sys/block that have a size and a device file, each followed by its partitions.

    A disk that disappears meanwhile is left out. Source: Documentation/ABI/testing/sysfs-block, udev's database.
    """
    try:
        disks = block.list_disks(ctx.host)
        partitions = block.list_partitions(ctx.host)
    except OSError as error:
        raise CommandError(f'Can\'t open directory "/sys/block": {error.strerror}') from error
    found = []
    for disk in disks:
        if disk.devnode is None:
            continue
        try:
            found.append(_disk(ctx, disk, disk.devnode))
        except OSError as error:
            log.info("%s is left out: %s", disk.devnode, error)
            continue
        found += [
            {"name": partition.devnode, "partition": True, "dependencies": [disk.devnode]}
            for partition in partitions.get(disk.path, ())
            if partition.devnode is not None
        ]
    return found


def _disk(ctx: Context, disk: Device, devnode: str) -> dict[str, object]:
    members: dict[str, object] = {"name": devnode, "partition": False}
    slaves = block.list_slaves(ctx.host, disk.path)
    if slaves is not None:
        members["dependencies"] = [slave.devnode for slave in slaves if slave.devnode is not None]
    if disk.virtual:
        if alias := block.udev_properties(ctx.host, disk).get("DM_NAME"):
            members["alias"] = alias
        return members
    if address := disk_address(ctx.host, disk):
        members["address"] = address
        if address["bus-type"] == "nvme":
            try:
                members["smart"] = {"type": "nvme", **nvme.read_health(ctx.host, devnode)}
            except OSError as error:
                log.debug("cannot read the health of %s: %s", devnode, error)
    return members


def guest_get_diskstats(ctx: Context) -> list[dict[str, object]]:
    """Return the counters of /proc/diskstats: Documentation/admin-guide/iostats.rst."""
    try:
        text = ctx.host.read("/proc/diskstats")
    except OSError as error:
        raise CommandError(f'open("/proc/diskstats"): {error.strerror}') from error
    return [
        {"name": disk.name, "major": disk.major, "minor": disk.minor, "stats": disk.stats}
        for disk in diskstats.parse_diskstats(text)
    ]
