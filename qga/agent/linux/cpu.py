"""The guest's processors: their list, their online state, and their times by state.

/sys/devices/system/cpu: Documentation/ABI/testing/sysfs-devices-system-cpu; /proc/stat: proc_stat(5).
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from qga.agent.linux.host import Host

CPUS = "/sys/devices/system/cpu"

# The columns of a cpuN line, in its order.
_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestnice")
_ALWAYS = 4  # how many of them every kernel has
_LINE = re.compile("^cpu([0-9]{1,9}) (.*)$", re.MULTILINE)
_COLUMNS = re.compile(" *[0-9]{1,20}(?: +[0-9]{1,20})* *")


class Processor(NamedTuple):
    """A processor. One that cannot be taken offline has no ``online`` file, and is online."""

    number: int
    online: bool
    can_offline: bool


def list_numbers(host: Host) -> list[int]:
    """Return the numbers of all processors, in their order. Raises OSError."""
    names = os.listdir(host.path(CPUS))
    return sorted([int(name[3:]) for name in names if re.fullmatch("cpu[0-9]{1,9}", name)])


def read_processor(host: Host, number: int) -> Processor:
    """Return a processor. Raises FileNotFoundError where it does not exist, and OSError."""
    directory = f"{CPUS}/cpu{number}"
    try:
        return Processor(number, host.read_attribute(f"{directory}/online").startswith("1"), True)
    except FileNotFoundError:
        os.stat(host.path(f"{directory}/"))
        return Processor(number, True, False)


def set_online(host: Host, number: int, online: bool) -> None:
    """Take a processor online or offline, by its ``online`` file.

    Raises OSError, with EBUSY for the last processor.
    """
    host.write(f"{CPUS}/cpu{number}/online", "1" if online else "0")


def parse_stat(text: str, ticks_per_second: int) -> list[dict[str, int]]:
    """Return the cpuN lines of /proc/stat: the processor's number as ``cpu``, and milliseconds by state.

    What a kernel does not count is left out. A malformed line ends the list, as with QEMU's agent.
    """
    found = []
    processors = text.partition("\nintr ")[0]  # they come first, and the line of interrupts can be very long
    for number, counted in _LINE.findall(processors):
        columns = counted.split()
        if len(columns) < _ALWAYS or not _COLUMNS.fullmatch(counted):
            break
        times = [int(column) * 1000 // ticks_per_second for column in columns]
        if len(times) == _STATES.index("softirq"):
            times.pop()  # irq and softirq come together
        found.append({"cpu": int(number), **dict(zip(_STATES, times))})
    return found
