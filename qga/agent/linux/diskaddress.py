"""Where a disk is attached, in the form of QEMU's interface: GuestDiskAddress."""

from __future__ import annotations

from typing import Any

from qga.agent.linux.attachment import Attachment, attachment
from qga.agent.linux.block import Device, udev_properties
from qga.agent.linux.host import Host

_UNKNOWN = Attachment("unknown")


def disk_address(host: Host, device: Device) -> dict[str, Any] | None:
    """Return a GuestDiskAddress, or None where nothing is known of it. Raises OSError if the device is gone."""
    where = attachment(device)
    serial, dev = udev_properties(host, device).get("ID_SERIAL"), device.devnode
    if where is None and serial is None and dev is None:
        return None
    place = where or _UNKNOWN
    members = {
        "pci-controller": dict(zip(("domain", "bus", "slot", "function"), place.pci)),
        "bus-type": place.bus_type,
        "bus": place.bus,
        "target": place.target,
        "unit": place.unit,
        "serial": serial,
        "dev": dev,
        "ccw-address": place.ccw and dict(zip(("cssid", "ssid", "subchno", "devno"), place.ccw)),
    }
    return {name: value for name, value in members.items() if value is not None}
