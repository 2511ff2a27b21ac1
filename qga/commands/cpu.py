"""Processors: list them, take them online and offline, and what they have been doing."""

from __future__ import annotations

import os
from typing import Any

from qga.context import Context
from qga.errors import CommandError
from qga.linux import cpu
from qga.linux.cpu import CPUS


def guest_get_vcpus(ctx: Context) -> list[dict[str, object]]:
    try:
        processors = cpu.list_processors(ctx.host)
    except OSError as error:
        raise CommandError(f"failed to list entries: {CPUS}: {error.strerror}") from error
    return [
        {"logical-id": found.number, "online": found.online, "can-offline": found.can_offline} for found in processors
    ]


def guest_set_vcpus(ctx: Context, *, vcpus: list[dict[str, Any]]) -> int:
    for done, wanted in enumerate(vcpus):
        try:
            _set_vcpu(ctx, wanted["logical-id"], wanted["online"])
        except CommandError:
            if done == 0:
                raise
            return done
    return len(vcpus)


def _set_vcpu(ctx: Context, number: int, online: bool) -> None:
    directory = f"{CPUS}/cpu{number}/"
    try:
        found = cpu.read_processor(ctx.host, number)
    except OSError as error:
        raise CommandError(f'open("{directory}"): {error.strerror}') from error
    if found.online == online:
        return
    if not found.can_offline:
        raise CommandError(f"logical processor #{number} can't be offlined")
    try:
        cpu.set_online(ctx.host, number, online)
    except OSError as error:
        raise CommandError(f'pwrite("{directory}/online"): {error.strerror}') from error


def guest_get_cpustats(ctx: Context) -> list[dict[str, object]]:
    try:
        text = ctx.host.read("/proc/stat")
    except OSError as error:
        raise CommandError(f'open("/proc/stat"): {error.strerror}') from error
    return [{"type": "linux", **times} for times in cpu.parse_stat(text, os.sysconf("SC_CLK_TCK"))]


def guest_get_load(ctx: Context) -> dict[str, float]:
    try:
        one, five, fifteen = ctx.host.load_average()
    except OSError as error:
        raise CommandError(f"cannot query load average: {error.strerror or error}") from error
    return {"load1m": one, "load5m": five, "load15m": fifteen}
