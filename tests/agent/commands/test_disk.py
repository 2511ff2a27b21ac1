"""Disks and filesystems on literal sysfs trees; paths are those of real guests."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qga.agent.commands import disk, filesystem
from qga.agent.linux import nvme
from qga.agent.linux.attachment import attachment
from qga.agent.linux.block import Device, natural
from qga.agent.linux.diskstats import parse_diskstats
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.protocol.schema import Schema
from tests.conftest import failed, write
from tests.contexts import context

Execute = Callable[..., dict[str, Any]]

PCI = "/sys/devices/pci0000:00"
VIRTUAL = "/sys/devices/virtual/block"
UNKNOWN = {"domain": -1, "bus": -1, "slot": -1, "function": -1}


class Tree:
    """Builds what the kernel and udev report about a guest's block devices."""

    def __init__(self, host: Host) -> None:
        self.host = host
        Path(host.path("/sys/block")).mkdir(parents=True)
        Path(host.path("/sys/dev/block")).mkdir(parents=True)
        Path(host.path("/sys/class/block")).mkdir(parents=True)

    def device(
        self, path: str, number: str, *, size: str = "2048", slaves: list[str] | None = None, **udev: str
    ) -> None:
        """A disk or partition at this path of sysfs; ``slaves`` are paths, None for one without that directory."""
        name = path.rsplit("/", 1)[1]
        write(self.host, f"{path}/size", f"{size}\n")
        write(
            self.host,
            f"{path}/uevent",
            "MAJOR={}\nMINOR={}\n".format(*number.split(":")) + f"DEVNAME={name}\nDEVTYPE=disk\n",
        )
        if udev:
            write(self.host, f"/run/udev/data/b{number}", "".join(f"E:{k}={v}\n" for k, v in udev.items()) + "S:x\n")
        self.link(f"/sys/dev/block/{number}", path)
        self.link(f"/sys/class/block/{name}", path)
        if slaves is not None:
            Path(self.host.path(f"{path}/slaves")).mkdir()
            for slave in slaves:
                self.link(f"{path}/slaves/{slave.rsplit('/', 1)[1]}", slave)

    def disk(self, path: str, number: str, **more: Any) -> None:
        self.device(path, number, **{"slaves": [], **more})
        self.link(f"/sys/block/{path.rsplit('/', 1)[1]}", path)

    def driver(self, path: str, name: str) -> None:
        Path(self.host.path(path)).mkdir(parents=True, exist_ok=True)
        self.link(f"{path}/driver", f"/sys/bus/pci/drivers/{name}")

    def link(self, path: str, target: str) -> None:
        link = Path(self.host.path(path))
        link.symlink_to(os.path.relpath(Path(self.host.path(target)), link.parent))


@pytest.fixture
def tree(host: Host) -> Tree:
    return Tree(host)


def pci(slot: int, bus: int = 0, function: int = 0) -> dict[str, int]:
    return {"domain": 0, "bus": bus, "slot": slot, "function": function}


def address(
    bus_type: str,
    where: dict[str, int],
    dev: str | None,
    bus: int = 0,
    target: int = 0,
    unit: int = 0,
    **more: object,
) -> dict[str, object]:
    members = {
        "pci-controller": where,
        "bus-type": bus_type,
        "bus": bus,
        "target": target,
        "unit": unit,
        "dev": dev,
        **more,
    }
    return {name: value for name, value in members.items() if value is not None}


@pytest.mark.parametrize(
    ("path", "controller", "driver", "expected"),
    [
        (
            f"{PCI}/0000:00:05.0/virtio2/block/vda",
            f"{PCI}/0000:00:05.0",
            "virtio-pci",
            address("virtio", pci(5), "/dev/vda"),
        ),
        (
            f"{PCI}/0000:00:06.0/virtio3/host2/target2:0:1/2:0:1:3/block/sda",
            f"{PCI}/0000:00:06.0",
            "virtio-pci",
            address("scsi", pci(6), "/dev/sda", unit=3),
        ),
        (
            f"{PCI}/0000:00:01.1/ata2/host1/target1:0:1/1:0:1:0/block/sdb",
            f"{PCI}/0000:00:01.1",
            "ata_piix",
            address("ide", pci(1, function=1), "/dev/sdb", bus=1, unit=1),
        ),
        (
            f"{PCI}/0000:00:1f.2/ata12/host11/target11:0:0/11:0:0:0/block/sdc",
            f"{PCI}/0000:00:1f.2",
            "ahci",
            address("sata", pci(0x1F, function=2), "/dev/sdc", unit=3),
        ),
        (
            f"{PCI}/0000:00:07.0/host3/target3:0:4/3:0:4:0/block/sdd",
            f"{PCI}/0000:00:07.0",
            "sym53c8xx",
            address("scsi", pci(7), "/dev/sdd", unit=4),
        ),
        (
            f"{PCI}/0000:00:04.0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0/block/sde",
            f"{PCI}/0000:00:04.0",
            "xhci_hcd",
            address("usb", pci(4), "/dev/sde"),
        ),
        (
            f"{PCI}/0000:00:03.0/0000:01:1f.0/virtio9/block/vdz",
            f"{PCI}/0000:00:03.0/0000:01:1f.0",
            "virtio-pci",
            address("virtio", pci(0x1F, bus=1), "/dev/vdz"),
        ),
        (
            f"{PCI}/0000:00:09.0/mmc_host/mmc0/mmc0:4567/block/mmcblk0",
            f"{PCI}/0000:00:09.0",
            "sdhci-pci",
            address("unknown", UNKNOWN, "/dev/mmcblk0"),
        ),
        (
            "/sys/devices/platform/a003e00.virtio_mmio/virtio0/block/vdb",
            None,
            None,
            address("virtio", UNKNOWN, "/dev/vdb"),
        ),
        (
            "/sys/devices/platform/a.virtio_mmio/virtio0/host0/target0:0:1/0:2:1:3/block/sdf",
            None,
            None,
            address("scsi", UNKNOWN, "/dev/sdf", bus=2, target=1, unit=3),
        ),
        (
            "/sys/devices/css0/0.0.000a/0.0.0815/virtio1/block/vdc",
            None,
            None,
            {
                **address("virtio", UNKNOWN, "/dev/vdc"),
                "ccw-address": {"cssid": 0, "ssid": 0, "subchno": 10, "devno": 0x815},
            },
        ),
        (
            "/sys/devices/css0/0.0.0001/0.0.0150/block/dasda",
            None,
            None,
            {
                **address("unknown", UNKNOWN, "/dev/dasda"),
                "ccw-address": {"cssid": 0, "ssid": 0, "subchno": 1, "devno": 0x150},
            },
        ),
        (
            "/sys/devices/css0/0.0.000d/0.0.1900/host0/rport-0:0-0/target0:0:2/0:0:2:5/block/sdg",
            None,
            None,
            {
                **address("scsi", UNKNOWN, "/dev/sdg", target=2, unit=5),
                "ccw-address": {"cssid": 0, "ssid": 0, "subchno": 13, "devno": 0x1900},
            },
        ),
        (
            "/sys/devices/virtual/nvme-fabrics/ctl/nvme3/nvme3n1",
            None,
            None,
            address("nvme", UNKNOWN, "/dev/nvme3n1"),
        ),
        (
            "/sys/devices/platform/host4/session1/target4:0:0/4:0:0:7/block/sdh",
            None,
            None,
            address("iscsi", UNKNOWN, "/dev/sdh", unit=7),
        ),
        ("/sys/devices/platform/floppy.0/block/fd0", None, None, address("fdc", UNKNOWN, "/dev/fd0")),
        ("/sys/devices/vbd-51712/block/xvda", None, None, address("xen", UNKNOWN, "/dev/xvda")),
        (
            "/sys/devices/platform/soc/fe980000.usb/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sdi",
            None,
            None,
            address("usb", UNKNOWN, "/dev/sdi"),
        ),
    ],
    ids=lambda value: value.rsplit("/", 1)[1] if isinstance(value, str) and "block/" in value else "",
)
def test_where_a_disk_is_attached(
    tree: Tree, execute: Execute, path: str, controller: str | None, driver: str | None, expected: dict[str, object]
) -> None:
    tree.disk(path, "8:0")
    if controller is not None and driver is not None:
        tree.driver(controller, driver)
        tree.driver(f"{PCI}/0000:00:03.0", "pcieport")
        for number in (1, 9, 11):  # of other ports, whose numbers are not in the order of their names
            host_path = Path(tree.host.path(f"{controller}/ata{number}"))
            host_path.mkdir(exist_ok=True)
    assert execute("guest-get-disks") == {
        "return": [{"name": expected["dev"], "partition": False, "dependencies": [], "address": expected}]
    }


def test_port_that_disappears_while_it_is_read(tree: Tree) -> None:
    controller = f"{PCI}/0000:00:1f.2"
    tree.driver(controller, "ahci")
    disk = Device(tree.host.path(f"{controller}/ata1/host0/target0:0:0/0:0:0:0/block/sda"), "/dev/sda", "8:0")
    with pytest.raises(FileNotFoundError):
        attachment(disk)


def lvm(tree: Tree) -> None:
    """Two disks, one partitioned; a volume over the partition and the other disk; md below it; a loop device."""
    one, two = f"{PCI}/0000:00:05.0/virtio2/block/vda", f"{PCI}/0000:00:06.0/virtio3/block/vdb"
    for controller in ("0000:00:05.0", "0000:00:06.0"):
        tree.driver(f"{PCI}/{controller}", "virtio-pci")
    tree.disk(one, "254:0", ID_SERIAL="first")
    tree.device(f"{one}/vda2", "254:2", ID_SERIAL="first")
    tree.device(f"{one}/vda10", "254:10")
    Path(tree.host.path(f"{one}/vda3x")).mkdir()
    tree.disk(two, "254:16", ID_SERIAL="second")
    tree.disk(f"{VIRTUAL}/md127", "9:127", slaves=[f"{one}/vda2"])
    tree.disk(f"{VIRTUAL}/dm-0", "253:0", slaves=[two, f"{VIRTUAL}/md127"], DM_NAME="vg-data")
    tree.disk(f"{VIRTUAL}/loop0", "7:0")
    tree.disk(f"{VIRTUAL}/loop1", "7:1", size="0")


def test_disks_partitions_and_the_devices_stacked_on_them(tree: Tree, execute: Execute) -> None:
    lvm(tree)
    assert execute("guest-get-disks")["return"] == [
        {"name": "/dev/dm-0", "partition": False, "dependencies": ["/dev/md127", "/dev/vdb"], "alias": "vg-data"},
        {"name": "/dev/loop0", "partition": False, "dependencies": []},
        {"name": "/dev/md127", "partition": False, "dependencies": ["/dev/vda2"]},
        {
            "name": "/dev/vda",
            "partition": False,
            "dependencies": [],
            "address": address("virtio", pci(5), "/dev/vda", serial="first"),
        },
        {"name": "/dev/vda2", "partition": True, "dependencies": ["/dev/vda"]},
        {"name": "/dev/vda10", "partition": True, "dependencies": ["/dev/vda"]},
        {
            "name": "/dev/vdb",
            "partition": False,
            "dependencies": [],
            "address": address("virtio", pci(6), "/dev/vdb", serial="second"),
        },
    ]


def test_device_that_cannot_be_read_is_left_out(tree: Tree, execute: Execute) -> None:
    lvm(tree)
    tree.link("/sys/block/sdz", "/sys/devices/gone/sdz")
    Path(tree.host.path(f"{VIRTUAL}/dm-0/uevent")).unlink()
    Path(tree.host.path(f"{PCI}/0000:00:06.0/virtio3/block/vdb/uevent")).write_text("DEVTYPE=disk\n")
    names = [found["name"] for found in execute("guest-get-disks")["return"]]
    assert names == ["/dev/loop0", "/dev/md127", "/dev/vda", "/dev/vda2", "/dev/vda10"]


def test_no_sysfs(execute: Execute) -> None:
    assert execute("guest-get-disks") == failed('Can\'t open directory "/sys/block": No such file or directory')


LOG = struct.pack("<BHBBB26x", 1, 323, 100, 10, 5) + struct.pack("<20Q", *range(20)) + bytes(320)


class Nvme(Host):
    """A host whose NVMe disk answers Get Log Page with ``answer``."""

    answer = 0

    def ioctl(self, descriptor: int, request: int, argument: bytearray | int = 0) -> int:
        import ctypes

        assert request == nvme.ADMIN_CMD == 0xC0484E41
        assert isinstance(argument, bytearray)
        assert len(argument) == 72
        opcode, namespace = argument[0], struct.unpack_from("=I", argument, 4)[0]
        target, length = struct.unpack_from("=Q", argument, 24)[0], struct.unpack_from("=I", argument, 36)[0]
        assert (opcode, namespace, length) == (2, 0xFFFFFFFF, len(LOG))
        assert struct.unpack_from("=I", argument, 40)[0] == 127 << 16 | 2
        ctypes.memmove(target, LOG, length)
        return self.answer


@pytest.mark.parametrize(("kind", "bus_type"), [("SD", "sd"), ("MMC", "mmc"), ("SDIO", "unknown")])
def test_a_memory_card_has_its_own_bus_type(tree: Tree, execute: Execute, kind: str, bus_type: str) -> None:
    card = f"{PCI}/0000:00:09.0/mmc_host/mmc0/mmc0:4567"
    tree.disk(f"{card}/block/mmcblk0", "179:0")
    tree.driver(f"{PCI}/0000:00:09.0", "sdhci-pci")
    write(tree.host, f"{card}/type", f"{kind}\n")
    (found,) = execute("guest-get-disks")["return"]
    assert found["address"] == address(bus_type, UNKNOWN, "/dev/mmcblk0")


SUBSYSTEM = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0"


def add_controller(tree: Tree, path: str, state: str, slot: str | None = None) -> None:
    """A controller of the subsystem, on PCI if it has a slot there."""
    name = path.rsplit("/", 1)[1]
    write(tree.host, f"{path}/state", f"{state}\n")
    if slot is not None:
        tree.driver(f"{PCI}/{slot}", "nvme")
    tree.link(f"{SUBSYSTEM}/{name}", path)


def test_a_disk_of_an_nvme_subsystem_is_at_one_of_its_controllers(tree: Tree, execute: Execute) -> None:
    """As with QEMU's nvme-subsys: the disk is not below a controller, and each path to it has no file in /dev."""
    tree.disk(f"{SUBSYSTEM}/nvme0n1", "259:1")
    tree.device(f"{SUBSYSTEM}/nvme0n1/nvme0n1p1", "259:2")
    tree.link(f"{SUBSYSTEM}/subsystem", "/sys/class/nvme-subsystem")
    add_controller(tree, f"{PCI}/0000:00:08.0/nvme/nvme0", "dead", "0000:00:08.0")
    add_controller(tree, "/sys/devices/virtual/nvme-fabrics/ctl/nvme1", "live")
    add_controller(tree, f"{PCI}/0000:00:0a.0/nvme/nvme10", "live", "0000:00:0a.0")
    add_controller(tree, f"{PCI}/0000:00:09.0/nvme/nvme2", "live", "0000:00:09.0")
    hidden = f"{PCI}/0000:00:08.0/nvme/nvme0/nvme0c0n1"
    write(tree.host, f"{hidden}/size", "2048\n")
    write(tree.host, f"{hidden}/uevent", "DEVTYPE=disk\n")
    tree.link("/sys/block/nvme0c0n1", hidden)
    write(tree.host, "/dev/nvme0n1", "")
    ctx = context(Nvme(tree.host.run, tree.host.which, tree.host.root), Schema({}), Policy())
    found, partition = disk.guest_get_disks(ctx)
    assert found["address"] == address("nvme", pci(9), "/dev/nvme0n1")
    smart = found["smart"]
    assert isinstance(smart, dict)
    assert smart["temperature"] == 323
    assert partition == {"name": "/dev/nvme0n1p1", "partition": True, "dependencies": ["/dev/nvme0n1"]}
    part = Device(tree.host.path(f"{SUBSYSTEM}/nvme0n1/nvme0n1p1"), "/dev/nvme0n1p1", "259:2")
    place = attachment(part)
    assert place is not None
    assert (place.bus_type, place.pci) == ("nvme", (0, 0, 9, 0))


@pytest.mark.parametrize(
    ("controllers", "where"),
    [
        ({}, UNKNOWN),
        ({"virtual/nvme-fabrics/ctl/nvme0": "live"}, UNKNOWN),
        ({"pci0000:00/0000:00:08.0/nvme/nvme0": "dead"}, pci(8)),
        ({"virtual/nvme-fabrics/ctl/nvme0": "live", "pci0000:00/0000:00:08.0/nvme/nvme1": "connecting"}, UNKNOWN),
    ],
)
def test_a_subsystem_whose_controllers_are_gone_or_elsewhere(
    tree: Tree, execute: Execute, controllers: dict[str, str], where: dict[str, int]
) -> None:
    tree.disk(f"{SUBSYSTEM}/nvme0n1", "259:1")
    tree.link(f"{SUBSYSTEM}/nvme9", f"{PCI}/0000:00:1f.0/nvme/nvme9")  # it has just gone
    for path, state in controllers.items():
        add_controller(tree, f"/sys/devices/{path}", state, "0000:00:08.0" if "pci" in path else None)
    (found,) = execute("guest-get-disks")["return"]
    assert found["address"] == address("nvme", where, "/dev/nvme0n1")


def test_health_of_an_nvme_disk(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{PCI}/0000:00:08.0/nvme/nvme0/nvme0n1"
    tree.disk(path, "259:0")
    tree.driver(f"{PCI}/0000:00:08.0", "nvme")
    tree.device(f"{path}/nvme0n1p1", "259:1")
    write(tree.host, "/dev/nvme0n1", "")
    ctx = context(Nvme(tree.host.run, tree.host.which, tree.host.root), Schema({}), Policy())
    found, partition = disk.guest_get_disks(ctx)
    assert partition == {"name": "/dev/nvme0n1p1", "partition": True, "dependencies": ["/dev/nvme0n1"]}
    assert found["address"] == address("nvme", pci(8), "/dev/nvme0n1")
    smart = found["smart"]
    assert isinstance(smart, dict)
    numbers = {k: v for k, v in smart.items() if not k.endswith(("-lo", "-hi"))}
    assert numbers == {
        "type": "nvme",
        "critical-warning": 1,
        "temperature": 323,
        "available-spare": 100,
        "available-spare-threshold": 10,
        "percentage-used": 5,
    }
    assert (smart["data-units-read-lo"], smart["data-units-read-hi"]) == (0, 1)
    assert (smart["number-of-error-log-entries-lo"], smart["number-of-error-log-entries-hi"]) == (18, 19)
    monkeypatch.setattr(Nvme, "answer", 0x4002)
    assert "smart" not in disk.guest_get_disks(ctx)[0]
    Path(tree.host.path("/dev/nvme0n1")).unlink()
    assert "smart" not in disk.guest_get_disks(ctx)[0]


def test_diskstats_of_every_kernel(host: Host, execute: Execute) -> None:
    write(
        host,
        "/proc/diskstats",
        " 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"
        "   8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n"
        "   7 0 loop0 1 2 3 4 5 6 7 8 9 10 11\n"
        "   8 1 sda1 1 2 3 4\n"
        "   8 2 short 1 2\n   8 3 odd a b c d\n",
    )
    found = execute("guest-get-diskstats")["return"]
    assert [(d["name"], d["major"], d["minor"], len(d["stats"])) for d in found] == [
        ("vda", 254, 0, 17),
        ("sda", 8, 0, 15),
        ("loop0", 7, 0, 11),
        ("sda1", 8, 1, 4),
    ]
    assert found[0]["stats"] == {
        "read-ios": 1,
        "read-merges": 2,
        "read-sectors": 3,
        "read-ticks": 4,
        "write-ios": 5,
        "write-merges": 6,
        "write-sectors": 7,
        "write-ticks": 8,
        "ios-pgr": 9,
        "total-ticks": 10,
        "weight-ticks": 11,
        "discard-ios": 12,
        "discard-merges": 13,
        "discard-sectors": 14,
        "discard-ticks": 15,
        "flush-ios": 16,
        "flush-ticks": 17,
    }
    assert found[3]["stats"] == {"read-ios": 1, "read-sectors": 2, "write-ios": 3, "write-sectors": 4}


def test_diskstats_that_cannot_be_read(execute: Execute) -> None:
    assert execute("guest-get-diskstats") == failed('open("/proc/diskstats"): No such file or directory')
    assert parse_diskstats("") == []


def test_a_number_is_decimal_digits_only() -> None:
    assert sorted(["1²", "1"], key=natural) == ["1", "1²"]


def test_natural_order() -> None:
    assert sorted(["sda10", "sdb", "sda2", "sda", "nvme10n1", "nvme2n1p1", "nvme2n1"], key=natural) == [
        "nvme2n1",
        "nvme2n1p1",
        "nvme10n1",
        "sda",
        "sda2",
        "sda10",
        "sdb",
    ]


class Sized(Host):
    """A guest whose filesystems all report a size, except one that fails."""

    def statvfs(self, descriptor: int) -> os.statvfs_result:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/mute"):
            raise OSError(5, "Input/output error")
        return os.statvfs_result((4096, 1024, 1000, 400, 300, 0, 0, 0, 0, 255))


MOUNTINFO = """\
1 0 254:2 / / rw - ext4 /dev/vda2 rw
2 1 253:0 / /data\\040x rw - xfs /dev/mapper/vg-data rw
3 1 0:22 / /nfs rw - nfs server:/x rw
4 1 7:0 / /loop ro - squashfs /dev/loop0 ro
5 1 8:77 / /mute rw - ext4 /dev/sdz rw
"""


def test_filesystems_last_mounted_first(tree: Tree) -> None:
    lvm(tree)
    write(tree.host, "/proc/self/mountinfo", MOUNTINFO)
    for mountpoint in ("/data x", "/loop", "/mute"):
        Path(tree.host.path(mountpoint)).mkdir()
    ctx = context(Sized(tree.host.run, tree.host.which, tree.host.root), Schema({}), Policy())
    sizes = {"used-bytes": 600 * 1024, "total-bytes": 900 * 1024, "total-bytes-privileged": 1000 * 1024}
    on_vda2 = address("virtio", pci(5), "/dev/vda2", serial="first")
    on_vdb = address("virtio", pci(6), "/dev/vdb", serial="second")
    assert filesystem.guest_get_fsinfo(ctx) == [
        {"name": "8:77", "mountpoint": "/mute", "type": "ext4", "disk": []},
        {"name": "loop0", "mountpoint": "/loop", "type": "squashfs", **sizes, "disk": []},
        {"name": "dm-0", "mountpoint": "/data x", "type": "xfs", **sizes, "disk": [on_vda2, on_vdb]},
        {"name": "vda2", "mountpoint": "/", "type": "ext4", **sizes, "disk": [on_vda2]},
    ]


def test_device_of_a_filesystem_that_cannot_be_read(tree: Tree, tmp_path: Path) -> None:
    lvm(tree)
    Path(tree.host.path("/sys/dev/block/254:2")).unlink()
    write(tree.host, "/proc/self/mountinfo", MOUNTINFO)
    ctx = context(Sized(tree.host.run, tree.host.which, tree.host.root), Schema({}), Policy())
    assert [(f["name"], bool(f["disk"])) for f in filesystem.guest_get_fsinfo(ctx)] == [
        ("8:77", False),
        ("loop0", False),
        ("dm-0", True),
        ("254:2", False),
    ]
