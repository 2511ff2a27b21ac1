"""Memory blocks: listing them, and taking them online and offline."""

from __future__ import annotations

import errno
import os
from typing import Any

from qga.agent.context import Context
from qga.agent.linux import memory
from qga.agent.linux.host import failed_call
from qga.agent.linux.memory import MEMORY
from qga.protocol.errors import CommandError

_UINT64 = 2**64


def guest_get_memory_blocks(ctx: Context) -> list[dict[str, object]]:
    """Return the blocks listed in /sys/devices/system/memory, ordered by number.

    The list is empty if the kernel lacks memory hotplug. Source: Documentation/ABI/testing/sysfs-devices-memory.
    """
    try:
        blocks = memory.list_memory_blocks(ctx.host)
    except FileNotFoundError:
        return []
    except OSError as error:
        file = os.path.basename(error.filename or error.filename2 or "state")
        if file in ("state", "removable"):
            raise CommandError(f'{failed_call(error, "pread")} sysfs file "{file}": {error.strerror}') from error
        raise CommandError(f'Can\'t open directory"{MEMORY}/": {error.strerror}') from error
    if not blocks:
        raise CommandError("guest reported zero memory blocks!")
    return [
        {"phys-index": block.number, "online": block.online, "can-offline": block.can_offline} for block in blocks
    ]


async def guest_set_memory_blocks(ctx: Context, *, mem_blks: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Write to the ``state`` files of these blocks, one by one, and return the outcome of each.

    A worker does this: the kernel moves a block's content elsewhere before the block goes offline, which takes time.
    """
    return await ctx.workers(lambda: _set_memory_blocks(ctx, mem_blks))


def _set_memory_blocks(ctx: Context, mem_blks: list[dict[str, Any]]) -> list[dict[str, object]]:
    return [_set_memory_block(ctx, wanted["phys-index"] % _UINT64, wanted["online"]) for wanted in mem_blks]


def _set_memory_block(ctx: Context, index: int, online: bool) -> dict[str, object]:
    def answer(response: str, code: int | None = None) -> dict[str, object]:
        return {"phys-index": index, "response": response, **({} if code is None else {"error-code": code})}

    if not os.path.isdir(ctx.host.path(MEMORY)):
        return answer("operation-not-supported", errno.ENOENT)
    try:
        block = memory.read_memory_block(ctx.host, index)
    except FileNotFoundError:
        return answer("not-found", errno.ENOENT)
    except OSError as error:
        return answer("operation-failed", error.errno)
    if block.online == online:
        return answer("success")
    if not block.has_state:
        return answer("operation-not-supported", errno.ENOENT)
    try:
        memory.set_online(ctx.host, index, online)
    except OSError as error:
        return answer("operation-failed", error.errno)
    return answer("success")


def guest_get_memory_block_info(ctx: Context) -> dict[str, int]:
    """Return the size of a block in bytes, from ``block_size_bytes`` of /sys/devices/system/memory."""
    try:
        return {"size": memory.read_block_size(ctx.host)}
    except OSError as error:
        if not os.path.isdir(ctx.host.path(MEMORY)):
            raise CommandError(f'open("{MEMORY}/"): {error.strerror}') from error
        call = failed_call(error, "pread")
        raise CommandError(f'{call} sysfs file "block_size_bytes": {error.strerror}') from error
    except ValueError as error:
        raise CommandError('sysfs file "block_size_bytes" holds no number') from error
