"""Block devices in sysfs: their names, and the devices that they lie on.

attachment.py finds where they are attached. Source: Documentation/ABI/testing/sysfs-block; what udev knows is
read from its database as sd-device(3) does.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from qga.agent.linux.host import Host, read_text

_VIRTUAL = "/devices/virtual/block/"  # device mapper, md, loop: devices without hardware


class Device(NamedTuple):
    """A block device. ``path`` is its directory in sysfs, a real path; ``devnode`` its file in /dev, if it has one.

    ``number`` is ``major:minor``.
    """

    path: str
    devnode: str | None
    number: str

    @property
    def name(self) -> str:
        """The kernel's name, in which ``!`` stands for a slash."""
        return os.path.basename(self.path)

    @property
    def virtual(self) -> bool:
        """Whether it is made by software from other devices or files, and has no hardware of its own."""
        return _VIRTUAL in self.path


def read_device(host: Host, path: str) -> Device:
    """Return the device for a directory in sysfs, or for a link to one. Raises OSError if it is gone."""
    directory = resolved(path)
    properties = _fields(read_text(f"{directory}/uevent", once=True))
    node = properties.get("DEVNAME")
    return Device(directory, f"/dev/{node}" if node else None, f"{properties.get('MAJOR')}:{properties.get('MINOR')}")


def udev_properties(host: Host, device: Device) -> dict[str, str]:
    """Return udev's properties of a device; none, where its database cannot be read."""
    try:
        text = host.read(f"/run/udev/data/b{device.number}")
    except OSError:
        return {}
    return _fields("\n".join(line[2:] for line in text.splitlines() if line.startswith("E:")))


def resolved(path: str) -> str:
    """Return where a link of sysfs leads, which is never to another link; other paths as they are. Raises OSError."""
    try:
        target = os.readlink(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return path
    directory = path.rpartition("/")[0]
    while target.startswith("../"):  # normpath() takes longer than readlink(2)
        directory, target = directory.rpartition("/")[0], target[3:]
    return f"{directory}/{target}"


def list_disks(host: Host) -> list[Device]:
    """Return the whole disks that have a size, by name, without those that cannot be read. Raises OSError."""
    disks = []
    for name in sorted(os.listdir(host.path("/sys/block")), key=natural):
        entry = host.path(f"/sys/block/{name}")
        try:
            if read_text(f"{entry}/size", once=True) != "0\n":
                disks.append(read_device(host, entry))
        except OSError:
            continue
    return disks


def list_partitions(host: Host) -> dict[str, list[Device]]:
    """Return the partitions of all disks: by the disk's path, each list by name. Raises OSError."""
    found: dict[str, list[Device]] = {}
    directory = host.path("/sys/class/block")
    names = set(os.listdir(directory))
    for name in sorted(names, key=natural):
        try:
            path = resolved(f"{directory}/{name}")
            disk = os.path.dirname(path)
            if os.path.basename(disk) in names:  # the directory of a whole disk is called block
                found.setdefault(disk, []).append(read_device(host, path))
        except OSError:
            continue
    return found


def list_slaves(host: Host, path: str) -> list[Device] | None:
    """Return the devices that one lies on, by name; None for what never does. ``path``: its directory in sysfs."""
    slaves = f"{path}/slaves"
    try:
        names = os.listdir(slaves)
    except FileNotFoundError:
        return None
    return list(_readable(host, slaves, names))


def list_hardware(host: Host, path: str) -> list[Device]:
    """Return the disks and partitions of real hardware that a device lies on in the end, perhaps itself."""
    if _VIRTUAL not in path:
        return [read_device(host, path)]
    return [below for slave in list_slaves(host, path) or () for below in list_hardware(host, slave.path)]


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sorting key by which sd10 comes after sd9."""
    parts = re.split("([0-9]{1,18})", name)  # every second part is a number
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]


def _readable(host: Host, directory: str, names: Iterable[str]) -> Iterator[Device]:
    for name in sorted(names, key=natural):
        try:
            yield read_device(host, f"{directory}/{name}")
        except OSError:
            continue  # it has just gone


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
