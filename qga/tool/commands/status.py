"""status: the guest on one screen. What the agent does not tell is left out."""

from __future__ import annotations

import argparse
from typing import Any

from qga.client.client import Client
from qga.client.errors import CommandFailed
from qga.tool import output, units

_ASKED = {
    "os": "guest-get-osinfo",
    "host": "guest-get-host-name",
    "load": "guest-get-load",
    "disks": "guest-get-fsinfo",
    "interfaces": "guest-network-get-interfaces",
    "users": "guest-get-users",
}

_FILE = 64 * 1024  # bytes of one of these files, and more than any has
_LONGEST = 10.0**12  # seconds
_MOST = 1 << 63  # bytes of memory


def status(client: Client, options: argparse.Namespace) -> None:
    told = gather(client)
    if options.json:
        return output.json(told)
    for name, text in summary(told):
        output.line(f"{name:10} {text}")
    output.table(("mounted on", "type", "size", "used", ""), disks(told.get("disks") or []))
    return output.table(("interface", "addresses"), interfaces(told.get("interfaces") or []))


def gather(client: Client) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, command in _ASKED.items():
        try:
            told[name] = client.call_raw(command)
        except CommandFailed:
            told[name] = None
    told.update(uptime=None, memory=None)
    try:
        told["uptime"] = uptime(_read(client, "/proc/uptime"))
        told["memory"] = memory(_read(client, "/proc/meminfo"))
    except (CommandFailed, ValueError, IndexError, KeyError):
        pass
    return told


def uptime(text: str) -> float:
    """Seconds: proc_uptime(5). Raises ValueError, IndexError."""
    seconds = float(text.split()[0])
    if not 0 <= seconds < _LONGEST:
        raise ValueError(text)
    return seconds


def memory(text: str) -> dict[str, int]:
    """Bytes: proc_meminfo(5). Raises ValueError, IndexError, KeyError."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    total, free = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    if not 0 <= free <= total < _MOST:
        raise ValueError(text)
    return {"total": total, "available": free}


def summary(told: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if told.get("host"):
        rows.append(("host", told["host"]["host-name"]))
    if told.get("os"):
        rows.append(("system", f"{told['os'].get('pretty-name', '?')}, {told['os'].get('kernel-release', '?')}"))
    if told.get("uptime") is not None:
        rows.append(("up", units.span(told["uptime"])))
    if told.get("load"):
        rows.append(("load", " ".join(f"{told['load'][name]:.2f}" for name in ("load1m", "load5m", "load15m"))))
    if told.get("memory"):
        total, free = told["memory"]["total"], told["memory"]["available"]
        rows.append(("memory", f"{bar(total - free, total)} {units.size(total - free)} of {units.size(total)}"))
    if told.get("users") is not None:
        rows.append(("users", ", ".join(sorted({user["user"] for user in told["users"]})) or "none"))
    return rows


def disks(filesystems: list[Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one in filesystems:
        total, used = one.get("total-bytes"), one.get("used-bytes")
        sizes = (
            (units.size(total), units.size(used), bar(used, total)) if total and used is not None else ("", "", "")
        )
        rows.append((one["mountpoint"], one["type"], *sizes))
    return rows


def interfaces(told: list[Any]) -> list[tuple[str, str]]:
    return [
        (one["name"], " ".join(f"{a['ip-address']}/{a['prefix']}" for a in one.get("ip-addresses", [])))
        for one in told
    ]


def bar(part: float, whole: float, width: int = 20) -> str:
    drawn = min(width, max(0, round(part / whole * width))) if whole else 0
    return f"[{'#' * drawn}{'.' * (width - drawn)}]"


def _read(client: Client, path: str) -> str:
    with client.open(path) as file:
        return file.read(_FILE).decode(errors="replace")
