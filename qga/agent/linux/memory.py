"""The guest's memory blocks: Documentation/ABI/testing/sysfs-devices-memory."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from qga.agent.linux.host import Host
from qga.agent.linux.numbers import number

MEMORY = "/sys/devices/system/memory"


class MemoryBlock(NamedTuple):
    """A memory block. One without a ``state`` file cannot be taken offline, and is online."""

    number: int
    online: bool
    can_offline: bool
    has_state: bool = True


def list_memory_blocks(host: Host) -> list[MemoryBlock]:
    """Return all blocks by number. Raises OSError: FileNotFoundError where the kernel has no memory hot-plug."""
    names = os.listdir(host.path(MEMORY))
    return [
        read_memory_block(host, block)
        for block in sorted(int(n[6:]) for n in names if re.fullmatch("memory[0-9]{1,18}", n))
    ]


def read_memory_block(host: Host, number: int) -> MemoryBlock:
    """Return a block. Raises FileNotFoundError where it does not exist, and OSError."""
    directory = f"{MEMORY}/memory{number}"
    os.stat(host.path(directory))
    try:
        online = host.read_attribute(f"{directory}/state").startswith("online")
    except FileNotFoundError:
        return MemoryBlock(number, online=True, can_offline=False, has_state=False)
    try:
        can_offline = not host.read_attribute(f"{directory}/removable").startswith("0")
    except FileNotFoundError:
        can_offline = False
    return MemoryBlock(number, online, can_offline)


def set_online(host: Host, number: int, online: bool) -> None:
    """Take a memory block online or offline, by its ``state`` file.

    Raises OSError, with EBUSY for memory that is in use.
    """
    host.write(f"{MEMORY}/memory{number}/state", "online" if online else "offline")


def read_block_size(host: Host) -> int:
    """Return the size of a block in bytes. Raises OSError, and ValueError where the file does not hold a number."""
    return number(host.read_attribute(f"{MEMORY}/block_size_bytes").strip(), 16)
