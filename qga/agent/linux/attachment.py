"""Where a disk is attached (bus, controller and unit), found from its path in sysfs.

Source: Documentation/ABI/testing/sysfs-*, and trees of real guests. What is on PCI is found by its controller's
driver; anything else shows its bus in a part of the path. The disk of an NVMe subsystem, which may have several
controllers, does not lie below any of them, but the subsystem has links to them.
"""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

from qga.agent.linux.block import Device, natural, resolved
from qga.agent.linux.host import read_text

# The drivers of controllers that are known, and what their disks are attached to.
_BUSES = {
    "ata_piix": "ide",
    "sym53c8xx": "scsi",
    "virtio-pci": "virtio",
    "ahci": "sata",
    "nvme": "nvme",
    "xhci_hcd": "usb",
    "ehci-pci": "usb",
}

_PCI_FUNCTION = re.compile(r"/([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])(?=/)")
_SCSI = re.compile(r"/target[0-9:]+/[0-9]+:([0-9]{1,18}):([0-9]{1,18}):([0-9]{1,18})/")  # bus, target, unit
_CHANNEL = re.compile(
    r"/devices/css[0-9a-f]+/([0-9a-f]{1,8})\.([0-9a-f])\.([0-9a-f]{4})/[0-9a-f]+\.[0-9a-f]\.([0-9a-f]{4})/"
)
_SUBSYSTEM = re.compile(r".*/devices/virtual/nvme-subsystem/[^/]+(?=/)")
_CONTROLLER = re.compile(r"nvme[0-9]+")
_CARD = re.compile(r".*/mmc_host/mmc[0-9]+/mmc[0-9]+:[0-9a-f]+(?=/)")
_PORT = re.compile(r"/(ata|host)([0-9]{1,18})/")

# Of what is not on PCI, nor a channel of s390, nor virtio: the part of the path that shows its bus, and that bus.
_PARTS = (
    (re.compile(r"/devices/virtual/nvme-fabrics/"), "nvme"),
    (re.compile(r"/host[0-9]+/session[0-9]+/target"), "iscsi"),
    (re.compile(r"/usb[0-9]+/"), "usb"),
    (re.compile(r"/devices/vbd-[0-9]+/"), "xen"),
    (re.compile(r"/devices/platform/floppy\.[0-9]+/"), "fdc"),
)

_NO_PCI = (-1, -1, -1, -1)


class Attachment(NamedTuple):
    """``pci`` is domain, bus, slot and function; ``ccw`` is cssid, ssid, subchannel and device number."""

    bus_type: str
    bus: int = 0
    target: int = 0
    unit: int = 0
    pci: tuple[int, int, int, int] = _NO_PCI
    ccw: tuple[int, int, int, int] | None = None


def attachment(device: Device) -> Attachment | None:
    """Return where the device is attached; None if that is not known. Raises OSError if it is gone."""
    path = f"{device.path}/"
    scsi = _SCSI.search(path)
    bus, target, unit = map(int, scsi.groups()) if scsi else (0, 0, 0)
    if subsystem := _SUBSYSTEM.match(path):
        return _of_subsystem(subsystem.group())
    if "/devices/pci" in path and (place := _on_pci(path, target, unit, is_scsi=scsi is not None)):
        return place
    if card := _CARD.match(path):
        return _of_card(card.group())
    if "/devices/pci" in path:
        return None
    kind = "scsi" if scsi else "virtio" if "/virtio" in path else "unknown"
    if channel := _CHANNEL.search(path):
        cssid, ssid, subchannel, number = (int(digits, 16) for digits in channel.groups())
        return Attachment(kind, bus, target, unit, ccw=(cssid, ssid, subchannel, number))
    if "/virtio" in path or "/devices/css" in path:
        return Attachment(kind, bus, target, unit)
    for part, kind in _PARTS:
        if part.search(path):
            return Attachment(kind, bus, target, unit)
    return None


def _of_card(card: str) -> Attachment | None:
    """Return the place of an MMC or SD card, by its type: Documentation/driver-api/mmc/mmc-dev-attrs.rst."""
    try:
        kind = read_text(f"{card}/type", once=True).strip()
    except OSError:
        return None
    return Attachment(kind.lower()) if kind in ("MMC", "SD") else None


def _of_subsystem(subsystem: str) -> Attachment:
    """Return the place of an NVMe disk, by its first live controller on PCI; nvme-fabrics has some that are not."""
    found = []
    for name in sorted(filter(_CONTROLLER.fullmatch, os.listdir(subsystem)), key=natural):
        try:
            path = resolved(f"{subsystem}/{name}")
            dead = read_text(f"{path}/state", once=True) != "live\n"
            place = _on_pci(f"{path}/", 0, 0, is_scsi=False) or Attachment("nvme")
        except OSError:
            continue  # it has just gone
        found.append((dead, place.pci == _NO_PCI, place))
    return min(found, key=lambda one: one[:2])[2] if found else Attachment("nvme")


def _on_pci(path: str, target: int, unit: int, *, is_scsi: bool) -> Attachment | None:
    """Return the place of a disk behind a PCI controller: the first with a known driver, from the root bridge on."""
    for function in _PCI_FUNCTION.finditer(path):
        controller = path[: function.end()]
        link = f"{controller}/driver"
        driver = os.path.basename(os.readlink(link)) if os.path.islink(link) else ""
        if driver not in _BUSES:
            continue
        domain, bus, slot, number = (int(digits, 16) for digits in function.groups())
        pci = (domain, bus, slot, number)
        if driver == "virtio-pci" and is_scsi:
            return Attachment("scsi", unit=unit, pci=pci)
        if driver == "sym53c8xx":
            return Attachment("scsi", unit=target, pci=pci)
        if driver == "ata_piix":
            return Attachment("ide", bus=_rank(controller, path), unit=target, pci=pci)
        if driver == "ahci":
            return Attachment("sata", unit=_rank(controller, path), pci=pci)
        return Attachment(_BUSES[driver], pci=pci)
    return None


def _rank(controller: str, path: str) -> int:
    """Return which of the controller's ports it is, from 0. Raises OSError if it is gone."""
    port = _PORT.search(path, len(controller))
    if port is None:
        return 0
    kind, number = port.groups()
    numbers = [entry[len(kind) :] for entry in os.listdir(controller) if re.fullmatch(rf"{kind}[0-9]{{1,18}}", entry)]
    try:
        return sorted(map(int, numbers)).index(int(number))
    except ValueError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
