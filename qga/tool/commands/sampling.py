"""What a guest counts, and what that makes a second: of processors, disks and interfaces."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from qga.client.client import Client
from qga.client.replies import CpuStats, DiskStatsInfo, LoadAverage, NetworkInterface
from qga.tool import units
from qga.tool.commands.optional import optional

Counters: TypeAlias = dict[str, dict[str, int]]  # by name of processor, disk or interface

_SECTOR = 512  # bytes, whatever the disk's are: Documentation/admin-guide/iostats.rst
_IDLE = ("idle", "iowait")
_BYTES = ("read", "written", "received", "sent")
# Guest and guestnice are counted in user and nice as well: proc_stat(5).
_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class Sample(NamedTuple):
    """``at``: seconds of this machine's monotonic clock. What the agent does not tell is None."""

    at: float
    load: LoadAverage | None
    processors: Counters | None
    disks: Counters | None
    interfaces: Counters | None


class Rates(NamedTuple):
    """Processors: the part of their time that they were busy, 0 to 1. Disks and interfaces: a second."""

    load: LoadAverage | None
    processors: dict[str, float] | None
    disks: dict[str, dict[str, float]] | None
    interfaces: dict[str, dict[str, float]] | None


def sample(client: Client) -> Sample:
    """Ask the agent for all counters, one command after the other."""
    load = optional(client.guest_get_load)
    processors = optional(client.guest_get_cpustats)
    disks = optional(client.guest_get_diskstats)
    interfaces = optional(client.guest_network_get_interfaces)
    return Sample(
        time.monotonic(),
        load,
        None if processors is None else processor_counters(processors),
        None if disks is None else disk_counters(disks),
        None if interfaces is None else interface_counters(interfaces),
    )


def rates(old: Sample, new: Sample) -> Rates:
    """Return the rates of what both samples have. A counter that went back began anew, and counts from 0."""
    seconds = max(new.at - old.at, 1e-6)
    return Rates(
        new.load,
        None if new.processors is None else {name: _busy(d) for name, d in _grown(old.processors, new.processors)},
        _per_second(old.disks, new.disks, seconds),
        _per_second(old.interfaces, new.interfaces, seconds),
    )


def amount(name: str, value: float) -> str:
    """Return a rate as people read it: of bytes, or of a count."""
    return units.size(value) if name in _BYTES else f"{value:.0f}"


def processor_counters(processors: Sequence[CpuStats]) -> Counters:
    """Return the milliseconds that each processor has been in each state."""
    states = {f"cpu{one.cpu}": {name: getattr(one, name) for name in _STATES} for one in processors}
    return {cpu: {name: ms for name, ms in of.items() if ms is not None} for cpu, of in states.items()}


def disk_counters(disks: Sequence[DiskStatsInfo]) -> Counters:
    """Return bytes and requests of whole disks that were ever used: the others, and partitions, would be many."""
    names = {one.name for one in disks}
    found = {}
    for one in disks:
        counted = {
            "read": (one.stats.read_sectors or 0) * _SECTOR,
            "written": (one.stats.write_sectors or 0) * _SECTOR,
            "reads": one.stats.read_ios or 0,
            "writes": one.stats.write_ios or 0,
        }
        if any(counted.values()) and not _is_partition(one.name, names):
            found[one.name] = counted
    return found


def interface_counters(interfaces: Sequence[NetworkInterface]) -> Counters:
    """Return bytes and packets, of the interfaces that have counters."""
    return {
        one.name: {
            "received": one.statistics.rx_bytes,
            "sent": one.statistics.tx_bytes,
            "packets in": one.statistics.rx_packets,
            "packets out": one.statistics.tx_packets,
        }
        for one in interfaces
        if one.statistics is not None
    }


def _is_partition(name: str, names: set[str]) -> bool:
    """Return whether it is one of a disk that is there: sda1 beside sda, nvme0n1p1 beside nvme0n1."""
    disk = name.rstrip("0123456789")
    return disk != name and (disk in names or (disk.endswith("p") and disk[:-1] in names))


def _grown(old: Counters | None, new: Counters | None) -> list[tuple[str, dict[str, int]]]:
    """Return how much each counter has grown, of what both have."""
    before: Mapping[str, Mapping[str, int]] = old or {}
    return [
        (name, {key: _growth(before[name].get(key, 0), value) for key, value in counted.items()})
        for name, counted in (new or {}).items()
        if name in before
    ]


def _growth(old: int, new: int) -> int:
    return new - old if new >= old else new


def _per_second(old: Counters | None, new: Counters | None, seconds: float) -> dict[str, dict[str, float]] | None:
    if new is None:
        return None
    return {name: {key: value / seconds for key, value in grown.items()} for name, grown in _grown(old, new)}


def _busy(grown: Mapping[str, int]) -> float:
    whole = sum(grown.values())
    return 1 - sum(grown.get(name, 0) for name in _IDLE) / whole if whole else 0.0
