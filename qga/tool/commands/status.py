"""status: the guest on one screen. What the agent does not tell is left out."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NamedTuple

from qga.client.client import Client
from qga.client.replies import FilesystemInfo, HostName, LoadAverage, NetworkInterface, OSInfo, User
from qga.tool import output, units
from qga.tool.commands.optional import optional

_MAX_FILE = 64 * 1024  # bytes of /proc/uptime and /proc/meminfo, and more than they have
_MAX_UPTIME = 10.0**12  # seconds
_MAX_MEMORY = 1 << 63  # bytes
_UPTIME = re.compile(r"\d{1,20}(?:\.\d{1,9})? ", re.ASCII)
_MEMORY = r"^{name}: *(\d{{1,20}}) kB$"


class Memory(NamedTuple):
    """In bytes, as proc_meminfo(5) has MemTotal and MemAvailable."""

    total: int
    available: int


class Status(NamedTuple):
    """What was found; None for what the agent does not tell. ``uptime`` in seconds."""

    os: OSInfo | None
    host: HostName | None
    load: LoadAverage | None
    disks: list[FilesystemInfo] | None
    interfaces: list[NetworkInterface] | None
    users: list[User] | None
    uptime: float | None
    memory: Memory | None


def status(client: Client, options: argparse.Namespace) -> None:
    """Print it, as text or as JSON."""
    found = gather(client)
    if options.json:
        memory = found.memory._asdict() if found.memory else None
        return output.json({**found._asdict(), "memory": memory})
    for name, text in summary(found):
        output.line(f"{name:10} {text}")
    output.table(("mounted on", "type", "size", "used", ""), disks(found.disks or []))
    return output.table(("interface", "addresses"), interfaces(found.interfaces or []))


def gather(client: Client) -> Status:
    """Ask the agent for all of it, one command after the other."""
    return Status(
        optional(client.guest_get_osinfo),
        optional(client.guest_get_host_name),
        optional(client.guest_get_load),
        optional(client.guest_get_fsinfo),
        optional(client.guest_network_get_interfaces),
        optional(client.guest_get_users),
        uptime(optional(lambda: _read(client, "/proc/uptime")) or ""),
        memory(optional(lambda: _read(client, "/proc/meminfo")) or ""),
    )


def uptime(text: str) -> float | None:
    """Return the seconds that proc_uptime(5) begins with; None if the text cannot be that file."""
    match = _UPTIME.match(text)
    seconds = float(match[0]) if match else _MAX_UPTIME
    return seconds if seconds < _MAX_UPTIME else None


def memory(text: str) -> Memory | None:
    """Return what proc_meminfo(5) tells; None if the text cannot be that file."""
    matches = [re.search(_MEMORY.format(name=name), text, re.M | re.A) for name in ("MemTotal", "MemAvailable")]
    total, available = (int(match[1]) * 1024 if match else _MAX_MEMORY for match in matches)
    return Memory(total, available) if available <= total < _MAX_MEMORY else None


def summary(found: Status) -> list[tuple[str, str]]:
    """Return the lines above the tables: a name and a text each."""
    rows = []
    if found.host:
        rows.append(("host", found.host.host_name))
    if found.os:
        rows.append(("system", f"{found.os.pretty_name or '?'}, {found.os.kernel_release or '?'}"))
    if found.uptime is not None:
        rows.append(("up", units.span(found.uptime)))
    if found.load:
        rows.append(("load", units.load(found.load)))
    if found.memory:
        total, used = found.memory.total, found.memory.total - found.memory.available
        rows.append(("memory", f"{bar(used, total)} {units.size(used)} of {units.size(total)}"))
    if found.users is not None:
        rows.append(("users", ", ".join(sorted({user.user for user in found.users})) or "none"))
    return rows


def disks(filesystems: Sequence[FilesystemInfo]) -> list[tuple[str, ...]]:
    """Return the table's rows; without sizes where the agent does not tell them."""
    rows: list[tuple[str, ...]] = []
    for one in filesystems:
        total, used = one.total_bytes, one.used_bytes
        sizes = (
            (units.size(total), units.size(used), bar(used, total)) if total and used is not None else ("", "", "")
        )
        rows.append((one.mountpoint, one.type, *sizes))
    return rows


def interfaces(found: Sequence[NetworkInterface]) -> list[tuple[str, str]]:
    """Return the table's rows: a name, and addresses with their prefixes."""
    return [
        (one.name, " ".join(f"{address.ip_address}/{address.prefix}" for address in one.ip_addresses or []))
        for one in found
    ]


def bar(part: float, whole: float, width: int = 20) -> str:
    """Return a bar of ``width`` characters in brackets."""
    drawn = min(width, max(0, round(part / whole * width))) if whole else 0
    return f"[{'#' * drawn}{'.' * (width - drawn)}]"


def _read(client: Client, path: str) -> str:
    with client.open(path) as file:
        return file.read(_MAX_FILE).decode(errors="replace")
