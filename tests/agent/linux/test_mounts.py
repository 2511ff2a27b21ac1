"""Parsing mountinfo, and finding the mount that a path is on."""

from __future__ import annotations

import pytest

from qga.agent.linux.host import Host
from qga.agent.linux.mounts import (
    GoneError,
    Mount,
    MountTree,
    list_mounts,
    named,
    opened,
    parse_mountinfo,
    parse_mounts,
    without,
)
from qga.protocol.errors import CommandError
from tests.conftest import write

MOUNTINFO = r"""22 1 254:1 / / rw,noatime shared:1 - ext4 /dev/vda1 rw
23 22 0:20 / /proc rw shared:2 master:3 - proc proc rw
30 22 254:2 / /data\040\134x rw - xfs /dev/vda2 rw
31 30 7:0 / /data\040\134x/inner rw - vfat /dev/loop0 rw
32 22 254:2 /sub /bind rw - xfs /dev/vda2 rw
33 22 0:50 / /nfs rw - nfs4 server:/ rw
broken line
34 22 x:y / /z rw - ext4 /dev/z rw
"""
ENDLESS = "9" * 5000  # int() refuses it


def at(mounts: list[Mount], path: str) -> str | None:
    found = MountTree(mounts).at(path)
    return found.source if found else None


def test_lines_of_mountinfo() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert [mount.mountpoint for mount in mounts] == ["/", "/proc", r"/data \x", r"/data \x/inner", "/bind", "/nfs"]
    assert mounts[2] == Mount(254, 2, r"/data \x", "xfs", "/dev/vda2", 30, 22, options="rw")


def test_numbers_and_names_that_no_kernel_has() -> None:
    assert parse_mountinfo(f"{ENDLESS} 1 254:1 / / rw - ext4 /dev/vda1 rw\n") == []
    assert parse_mounts(r"/dev/\000a /\000 ext4 rw 0 0") == [(r"/dev/\000a", r"/\000", "ext4")]


def test_resolved_paths() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert at(mounts, "/") == "/dev/vda1"
    assert at(mounts, "/data") == "/dev/vda1"
    assert at(mounts, r"/data \x/file") == "/dev/vda2"
    assert at(mounts, r"/data \x/innermost") == "/dev/vda2"
    assert at(mounts, r"/data \x/inner/file") == "/dev/loop0"
    assert at([], "/") is None


@pytest.mark.parametrize(
    ("upper", "path", "found"),
    [
        (r"40 32 0:60 / /bind rw - nfs4 over:/ rw", "/bind/x", "over:/"),
        (r"40 22 0:60 / /data\040\134x rw - nfs4 under:/ rw", "/bind/x", "/dev/vda2"),
        (r"40 30 0:60 / /data\040\134x rw - nfs4 over:/ rw", r"/data \x/inner/y", "over:/"),
        (r"40 22 0:60 / / rw - nfs4 over:/ rw", "/bind", "over:/"),
    ],
)
def test_mount_hidden_by_another(upper: str, path: str, found: str) -> None:
    assert at(parse_mountinfo(f"{MOUNTINFO}{upper}\n"), path) == found


def test_mounts_that_changed_while_they_were_listed() -> None:
    mounts = parse_mountinfo(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 31 8:2 / /x rw - ext4 /dev/sda2 rw\n"
        "31 30 8:3 / /x rw - ext4 /dev/sda3 rw\n"
        "31 22 8:4 / /x rw - ext4 /dev/sda4 rw\n"
    )
    assert at(mounts, "/y") == "/dev/sda1"
    assert at(mounts, "/x/y") in ("/dev/sda2", "/dev/sda3")


def test_root_that_is_its_own_parent() -> None:
    mounts = parse_mountinfo("1 1 0:2 / / rw - rootfs none rw\n2 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    assert at(mounts, "/x") == "/dev/sda1"


def test_first_of_each_device_in_the_order_of_mounting(host: Host) -> None:
    write(host, "/proc/self/mountinfo", MOUNTINFO)
    assert [(m.mountpoint, m.hidden) for m in list_mounts(host)] == [
        ("/", False),
        (r"/data \x", False),
        (r"/data \x/inner", False),
    ]


def test_hidden_mount_gives_way_to_one_that_can_be_reached(host: Host) -> None:
    over = r"40 30 0:60 / /data\040\134x rw - nfs4 dead:/ rw"
    write(host, "/proc/self/mountinfo", f"{MOUNTINFO}{over}\n")
    assert [(m.mountpoint, m.hidden) for m in list_mounts(host)] == [
        ("/", False),
        ("/bind", False),
        (r"/data \x/inner", True),
    ]
    hidden = list_mounts(host)[2]
    with pytest.raises(OSError, match="hidden by another mount"), opened(host, hidden):
        pass


def test_without_mountinfo_every_mount_counts_as_reached(host: Host) -> None:
    write(host, "/proc/self/mounts", "/dev/vda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n")

    class Nodes(Host):
        def block_device(self, path: str) -> tuple[int, int] | None:
            return (254, 1) if path == "/dev/vda1" else None

    assert list_mounts(Nodes(host.run, host.which, host.root)) == [Mount(254, 1, "/", "ext4", "/dev/vda1")]


def test_nothing_can_be_read(host: Host) -> None:
    with pytest.raises(CommandError, match=r"^failed to open mtab file: '/proc/self/mounts'$"):
        list_mounts(host)


BTRFS = r"""22 1 254:1 / / rw - ext4 /dev/vda1 rw
30 22 0:40 /@ /pool rw - btrfs /dev/vdb rw,subvol=/@
31 22 0:40 /@home /home rw - btrfs /dev/vdb rw,subvol=/@home
32 22 254:1 /var/lib/volumes/7 /pods/7/volume rw - ext4 /dev/vda1 rw
33 22 254:3 / /pods/8/volume rw - xfs /dev/vdc rw
34 22 254:1 / /again rw - ext4 /dev/disk/by-label/root rw
"""


@pytest.fixture
def several(host: Host) -> list[Mount]:
    """A btrfs with two subvolumes; a root filesystem of which one directory and all of it are mounted elsewhere."""
    write(host, "/proc/self/mountinfo", BTRFS)

    class Nodes(Host):
        def block_device(self, path: str) -> tuple[int, int] | None:
            return (254, 2) if path == "/dev/vdb" else None

    return list_mounts(Nodes(host.run, host.which, host.root))


def points(mounts: list[Mount]) -> list[str]:
    return [mount.mountpoint for mount in mounts]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["/home"], ["/pool"]),
        (["/home/", "/pool"], ["/pool"]),
        (["//home/./", "/"], ["/", "/pool"]),
        (["/pods/7/volume"], ["/"]),
        (["/again"], ["/"]),
        (["", "home", "/hom", "/home/x", "/pods", "./home", "/x/../home"], []),
        ([], []),
    ],
)
def test_filesystem_by_any_of_its_mount_points(several: list[Mount], wanted: list[str], found: list[str]) -> None:
    assert points(several) == ["/", "/pool", "/pods/8/volume"]
    assert points(named(several, wanted)) == found


def test_hidden_mount_point_names_what_hides_it(host: Host) -> None:
    over = r"40 30 254:9 / /data\040\134x rw - ext4 /dev/vdz rw"
    write(host, "/proc/self/mountinfo", f"{MOUNTINFO}{over}\n")
    assert [mount.source for mount in named(list_mounts(host), [r"/data \x"])] == ["/dev/vdz"]


@pytest.mark.parametrize(
    ("globs", "kept"),
    [
        (["/home"], ["/", "/pods/8/volume"]),
        (["/hom?/"], ["/", "/pods/8/volume"]),
        (["/again"], ["/pool", "/pods/8/volume"]),
        (["/aga*"], ["/pool", "/pods/8/volume"]),
        (["/dev/disk/by-label/*"], ["/pool", "/pods/8/volume"]),
        (["/pods/*"], ["/", "/pool"]),  # a directory of / is bound there: that is not a reason to leave / out
        (["/pods/7/volume"], ["/pool", "/pods/8/volume"]),
        (["btrfs", "xfs"], ["/"]),
        (["home", "/hom"], ["/", "/pool", "/pods/8/volume"]),
    ],
)
def test_filesystem_is_left_out_by_any_of_its_mounts(several: list[Mount], globs: list[str], kept: list[str]) -> None:
    assert points(without(several, globs)) == kept


class Kernel(Host):
    """A kernel whose open mount points report ``at``: the id of the mount and the number of its device."""

    at: tuple[int, tuple[int, int]] | None = None

    def mounted_at(self, descriptor: int) -> tuple[int, tuple[int, int]] | None:
        return self.at


@pytest.mark.parametrize(
    ("mountpoint", "at", "there"),
    [
        ("/data", (30, (254, 2)), True),
        ("/data", None, True),
        ("/data", (31, (254, 2)), False),
        ("/data", (30, (254, 3)), False),  # the kernel has given the id again
        ("/pool", (31, (0, 77)), True),  # each subvolume has a number of its own
        ("/pool", (31, (254, 3)), False),
    ],
)
def test_the_mount_itself_is_opened(
    host: Host, mountpoint: str, at: tuple[int, tuple[int, int]] | None, there: bool
) -> None:
    kernel = Kernel(host.run, host.which, host.root)
    kernel.at = at
    write(host, f"{mountpoint}/file", "")
    mounts = {
        "/data": Mount(254, 2, "/data", "ext4", "/dev/vdb", 30, 1),
        "/pool": Mount(254, 1, "/pool", "btrfs", "/dev/vda", 31, 1),
    }
    if there:
        with opened(kernel, mounts[mountpoint]) as descriptor:
            assert descriptor > 2
    else:
        with pytest.raises(GoneError, match="unmounted meanwhile"), opened(kernel, mounts[mountpoint]):
            pass


def test_mount_point_that_cannot_be_opened_is_gone_only_if_it_is_not_listed(host: Host) -> None:
    write(host, "/proc/self/mountinfo", MOUNTINFO)
    bound = Mount(254, 2, "/bind", "xfs", "/dev/vda2", 32, 22, root="/sub")
    with pytest.raises(FileNotFoundError), opened(host, bound):
        pass
    write(host, "/proc/self/mountinfo", MOUNTINFO.replace("32 22", "35 22"))
    with pytest.raises(GoneError, match="unmounted meanwhile"), opened(host, bound):
        pass
