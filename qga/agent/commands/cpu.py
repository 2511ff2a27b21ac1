"""Processors: listing them, taking them online and offline, CPU times and load averages."""

from __future__ import annotations

import os
from typing import Any

from qga.agent.context import Context
from qga.agent.linux import cpu
from qga.agent.linux.cpu import CPUS, Processor
from qga.agent.linux.host import failed_call
from qga.protocol.errors import CommandError


def guest_get_vcpus(ctx: Context) -> list[dict[str, object]]:
    """Return the processors listed in /sys/devices/system/cpu, ordered by number.

    A processor without a file ``online`` there cannot be taken offline. Source:
    Documentation/ABI/testing/sysfs-devices-system-cpu.
    """
    try:
        numbers = cpu.list_numbers(ctx.host)
    except OSError as error:
        raise CommandError(f"failed to list entries: {CPUS}: {error.strerror}") from error
    processors = [_read_processor(ctx, number) for number in numbers]
    return [
        {"logical-id": found.number, "online": found.online, "can-offline": found.can_offline} for found in processors
    ]


async def guest_set_vcpus(ctx: Context, *, vcpus: list[dict[str, Any]]) -> int:
    """Write to the ``online`` files of these processors, one by one, and return how many succeeded.

    It stops at the first failure, which is an error only for the first processor of the request. A worker does this:
    the kernel moves a processor's tasks elsewhere before the processor goes offline, which takes time.
    """
    return await ctx.workers(lambda: _set_vcpus(ctx, vcpus))


def _set_vcpus(ctx: Context, vcpus: list[dict[str, Any]]) -> int:
    for done, wanted in enumerate(vcpus):
        try:
            _set_vcpu(ctx, wanted["logical-id"], wanted["online"])
        except CommandError:
            if done == 0:
                raise
            return done
    return len(vcpus)


def _set_vcpu(ctx: Context, number: int, online: bool) -> None:
    found = _read_processor(ctx, number)
    if found.online == online:
        return
    if not found.can_offline:
        raise CommandError(f"logical processor #{number} can't be offlined")
    try:
        cpu.set_online(ctx.host, number, online)
    except OSError as error:
        raise _failed(number, "pwrite", error) from error


def _read_processor(ctx: Context, number: int) -> Processor:
    try:
        return cpu.read_processor(ctx.host, number)
    except OSError as error:
        raise _failed(number, "pread", error) from error


def _failed(number: int, call: str, error: OSError) -> CommandError:
    """Return the error in QEMU's words; ``call`` is the system call after open(2)."""
    directory = f"{CPUS}/cpu{number}/"
    named = str(error.filename or "")
    path = directory if named and not named.endswith("/online") else f"{directory}/online"
    return CommandError(f'{failed_call(error, call)}("{path}"): {error.strerror}')


def guest_get_cpustats(ctx: Context) -> list[dict[str, object]]:
    """Return the times of each processor from /proc/stat, in milliseconds: proc_stat(5)."""
    try:
        text = ctx.host.read("/proc/stat")
    except OSError as error:
        raise CommandError(f'open("/proc/stat"): {error.strerror}') from error
    return [{"type": "linux", **times} for times in cpu.parse_stat(text, os.sysconf("SC_CLK_TCK"))]


def guest_get_load(ctx: Context) -> dict[str, float]:
    """Return the kernel's load averages: getloadavg(3)."""
    try:
        one, five, fifteen = ctx.host.load_average()
    except OSError as error:
        raise CommandError(f"cannot query load average: {error.strerror or error}") from error
    return {"load1m": one, "load5m": five, "load15m": fifteen}
