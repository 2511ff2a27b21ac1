"""What a guest counts, and what that makes a second: of processors, disks and interfaces."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from qga.client.errors import CommandFailed
from qga.client.operations.requests import together
from qga.tool import units

Counters: TypeAlias = dict[str, dict[str, int]]  # by name of processor, disk or interface

ASKED = ("guest-get-load", "guest-get-cpustats", "guest-get-diskstats", "guest-network-get-interfaces")
_SECTOR = 512  # bytes, whatever the disk's are: Documentation/admin-guide/iostats.rst
_IDLE = ("idle", "iowait")
_BYTES = ("read", "written", "received", "sent")
# Guest and guestnice are counted in user and nice as well: proc_stat(5).
_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class Sample(NamedTuple):
    """``at``: seconds of this machine's monotonic clock. What the agent does not tell is None."""

    at: float
    load: dict[str, float] | None
    processors: Counters | None
    disks: Counters | None
    interfaces: Counters | None


class Rates(NamedTuple):
    """Processors: the part of their time that they were busy, 0 to 1. Disks and interfaces: a second."""

    load: dict[str, float] | None
    processors: dict[str, float] | None
    disks: dict[str, dict[str, float]] | None
    interfaces: dict[str, dict[str, float]] | None


async def sample() -> Sample:
    """All are asked for at once."""
    values = await together([(command, {}) for command in ASKED])
    # Older agents lack one, or the guest's owner forbids it.
    told = [None if isinstance(value, CommandFailed) else value for value in values]
    return taken(time.monotonic(), dict(zip(ASKED, told, strict=True)))


def taken(at: float, told: Mapping[str, Any]) -> Sample:
    """``told``: what each of ASKED returned, None for what the agent does not tell."""
    load, processors, disks, interfaces = (told[command] for command in ASKED)
    return Sample(at, load, _processors(processors), _disks(disks), _interfaces(interfaces))


def rates(old: Sample, new: Sample) -> Rates:
    """Of what was there both times. A counter that went back began anew: its rate counts from nought."""
    seconds = max(new.at - old.at, 1e-6)
    return Rates(
        new.load,
        None if new.processors is None else {name: _busy(d) for name, d in _grown(old.processors, new.processors)},
        _per_second(old.disks, new.disks, seconds),
        _per_second(old.interfaces, new.interfaces, seconds),
    )


def amount(name: str, value: float) -> str:
    """A rate as people read it: of bytes, or how many."""
    return units.size(value) if name in _BYTES else f"{value:.0f}"


def _processors(told: Any) -> Counters | None:
    if told is None:
        return None
    linux = [one for one in told if one["type"] == "linux"]
    return {f"cpu{one['cpu']}": {name: one[name] for name in _STATES if name in one} for one in linux}


def _disks(told: Any) -> Counters | None:
    """Whole disks that were ever used: the others, and partitions, would be many."""
    if told is None:
        return None
    names = {one["name"] for one in told}
    found = {}
    for one in told:
        stats = one["stats"]
        counted = {
            "read": stats.get("read-sectors", 0) * _SECTOR,
            "written": stats.get("write-sectors", 0) * _SECTOR,
            "reads": stats.get("read-ios", 0),
            "writes": stats.get("write-ios", 0),
        }
        if any(counted.values()) and not _is_partition(one["name"], names):
            found[one["name"]] = counted
    return found


def _is_partition(name: str, names: set[str]) -> bool:
    """sda1 beside sda, nvme0n1p1 beside nvme0n1."""
    disk = name.rstrip("0123456789")
    return disk != name and (disk in names or (disk.endswith("p") and disk[:-1] in names))


def _interfaces(told: Any) -> Counters | None:
    if told is None:
        return None
    names = {"received": "rx-bytes", "sent": "tx-bytes", "packets in": "rx-packets", "packets out": "tx-packets"}
    return {
        one["name"]: {name: one["statistics"][of] for name, of in names.items()}
        for one in told
        if "statistics" in one
    }


def _grown(old: Counters | None, new: Counters | None) -> list[tuple[str, dict[str, int]]]:
    """How much each counter has grown."""
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
