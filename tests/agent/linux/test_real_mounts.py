"""How real filesystems are nested, and mounts that disappear meanwhile, as the kernel reports them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import permutations

import pytest

from qga.agent.commands import filesystem
from qga.agent.linux.freezing import FreezeError, freeze, freezing_order, thaw
from qga.agent.linux.host import Host
from qga.agent.linux.mounts import Mount, list_mounts, named
from qga.agent.linux.trimming import Trimmed, trim
from qga.agent.policy import Policy
from qga.protocol.schema import Schema
from tests.contexts import context
from tests.filesystems import Filesystems, needs_btrfs, needs_loop

pytestmark = [pytest.mark.forks, pytest.mark.slow, needs_loop]

HOUR = 3600.0


@pytest.fixture
def machine() -> Iterator[Filesystems]:
    with Filesystems() as made:
        yield made


def orders(machine: Filesystems, *mountpoints: str) -> set[tuple[str, ...]]:
    """Return the freeze orders for every order in which the kernel could list these mounts."""

    def find(host: Host) -> list[list[str]]:
        mounts = named(list_mounts(host), mountpoints)
        return [[m.mountpoint for m in freezing_order(host, given)] for given in permutations(mounts)]

    return {tuple(order) for order in machine.inside(find)}


def test_file_in_an_overlay(machine: Filesystems) -> None:
    base, at = machine.ext4("base", size="48M"), machine.at
    machine.shell(f"mkdir '{base}/up, per' {base}/work {at}/lower {at}/overlay")
    options = f"lowerdir={at}/lower,upperdir={base}/up\\, per,workdir={base}/work"
    machine.shell(f"mount -t overlay -o '{options}' overlay {at}/overlay")
    inner = machine.ext4("inner", f"{at}/overlay/inner.img")
    assert orders(machine, base, inner) == {(inner, base)}


def test_file_that_has_been_renamed_unlinked_or_mounted_elsewhere(machine: Filesystems) -> None:
    base, at = machine.ext4("base", size="96M"), machine.at
    machine.shell(f"mkdir {at}/bound; mount --bind {base} {at}/bound")
    unlinked = machine.ext4("unlinked", f"{at}/bound/unlinked.img")
    renamed = machine.ext4("renamed", f"{base}/renamed.img")
    machine.shell(f"umount -l {at}/bound; rm {base}/unlinked.img; mkdir {base}/x; mv {base}/renamed.img {base}/x/y")
    found = orders(machine, base, unlinked, renamed)
    assert {order[-1] for order in found} == {base}


def test_loop_device_of_a_loop_device_and_a_chain_of_three(machine: Filesystems) -> None:
    base = machine.ext4("base", size="96M")
    machine.shell(f"truncate -s 48M {base}/disk.img")
    middle = machine.ext4("middle", machine.loop(machine.loop(f"{base}/disk.img")))
    inner = machine.ext4("inner", f"{middle}/inner.img")
    assert orders(machine, base, middle, inner) == {(inner, middle, base)}


def test_filesystem_in_one_that_is_not_seen_comes_first(machine: Filesystems) -> None:
    """It may be in any of the others, which cannot be determined."""
    base = machine.ext4("base")
    elsewhere = machine.ext4("elsewhere", size="48M")
    inner = machine.ext4("inner", f"{elsewhere}/inner.img")
    machine.shell(f"umount -l {elsewhere}")
    assert orders(machine, base, inner) == {(inner, base)}


@needs_btrfs
def test_file_in_a_subvolume(machine: Filesystems) -> None:
    """The kernel reports a device number for it that is not in any list of mounts."""
    machine.btrfs("pool")
    pool = f"{machine.at}/pool"
    machine.shell(f"btrfs -q subvolume create {pool}/images; btrfs -q subvolume create {pool}/images/deeper")
    first = machine.ext4("first", f"{pool}/images/a")
    second = machine.ext4("second", f"{pool}/images/deeper/b")
    assert {order[-1] for order in orders(machine, pool, first, second)} == {pool}


@needs_btrfs
def test_second_disk_of_a_filesystem_that_has_several(machine: Filesystems) -> None:
    base, at = machine.ext4("base", size="192M"), machine.at
    machine.shell(f"truncate -s 130M {at}/one.img {base}/two.img; mkdir {at}/pool")
    one, two = machine.loop(f"{at}/one.img"), machine.loop(f"{base}/two.img")
    machine.shell(
        f"mkfs.btrfs -q -d raid1 -m raid1 {one} {two}; btrfs -q device scan {one} {two}; mount {one} {at}/pool"
    )
    assert orders(machine, base, f"{at}/pool") == {(f"{at}/pool", base)}


def test_call_that_is_killed_counts_as_not_thawed(machine: Filesystems) -> None:
    """A freeze whose process is killed may have succeeded, so it is undone."""
    where = machine.ext4("data")
    machine.guard(where)

    def work(host: Host) -> list[object]:
        mounts = named(list_mounts(host), [where])
        frozen = freeze(host, mounts, HOUR, time.monotonic())
        kernel, agent = host.ioctl, os.getpid()

        def killed(descriptor: int, request: int, argument: bytearray | int = 0) -> int:
            assert os.getpid() != agent
            kernel(descriptor, request, argument)
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        host.ioctl = killed  # type: ignore[method-assign]
        thawed = thaw(host, mounts)
        with pytest.raises(FreezeError, match=f"failed to freeze {where}: the process that made a system call ended"):
            freeze(host, mounts, HOUR, time.monotonic())
        return [len(frozen), list(thawed)]

    assert machine.inside(work) == [1, [0, [where]]]
    assert not machine.frozen(where)


# Mounts that go away after they were listed

GONE: dict[str, str] = {
    "unmounted": "umount {0}",
    "and its directory removed": "umount {0}; rmdir {0}",
    "and another mounted there": "umount {0}; mount {1} {0}",
    "hidden by another": "mount {1} {0}",
}


def meanwhile(machine: Filesystems, how: str, work: Callable[[Host, list[Mount]], object]) -> object:
    """Run ``work`` on mounts the last of which went away after they were listed, as a row of GONE describes."""
    below, kept = machine.ext4("below"), machine.ext4("kept")
    going = f"{below}/going"
    machine.shell(f"mkdir {going}; truncate -s 16M {machine.at}/going.img {machine.at}/another.img")
    machine.shell(f"mke2fs -q {machine.at}/going.img; mke2fs -q {machine.at}/another.img")
    machine.shell(f"mount {machine.loop(f'{machine.at}/going.img')} {going}")
    script = GONE[how].format(going, machine.loop(f"{machine.at}/another.img"))
    machine.guard(below, kept)

    def there(host: Host) -> object:
        mounts = named(list_mounts(host), [kept, going])
        assert [mount.mountpoint for mount in mounts] == [kept, going]
        subprocess.run(["sh", "-ec", script], check=True)
        return work(host, mounts)

    found = machine.inside(there)
    assert not machine.frozen(below), "what is below it is frozen, unasked"
    return found


@pytest.mark.parametrize("how", GONE)
def test_mount_that_has_gone_is_not_frozen_and_fails_nothing(machine: Filesystems, how: str) -> None:
    def work(host: Host, mounts: list[Mount]) -> list[object]:
        frozen = freeze(host, reversed(mounts), HOUR, time.monotonic())
        return [[mount.mountpoint for mount in frozen], list(thaw(host, mounts))]

    kept = f"{machine.at}/kept"
    assert meanwhile(machine, how, work) == [[kept], [1, []]]


@pytest.mark.parametrize("how", GONE)
def test_mount_that_has_gone_is_not_thawed(machine: Filesystems, how: str) -> None:
    """Another process has frozen the filesystem below it and the one there now, and has to thaw them."""

    def work(host: Host, mounts: list[Mount]) -> list[object]:
        subprocess.run(["fsfreeze", "-f", os.path.dirname(mounts[1].mountpoint)], check=True)
        found = thaw(host, mounts)
        subprocess.run(["fsfreeze", "-u", os.path.dirname(mounts[1].mountpoint)], check=True)
        return list(found)

    assert meanwhile(machine, how, work) == [0, []]


@pytest.mark.parametrize("how", GONE)
def test_mount_that_has_gone_is_not_trimmed(machine: Filesystems, how: str) -> None:
    def work(host: Host, mounts: list[Mount]) -> list[bool]:
        return [isinstance(trim(host, mount, 0), Trimmed) for mount in mounts]

    assert meanwhile(machine, how, work) == [True, False]


@pytest.mark.parametrize("how", GONE)
def test_mount_that_has_gone_is_not_told_of(machine: Filesystems, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(host: Host, mounts: list[Mount]) -> list[object]:
        monkeypatch.setattr(filesystem, "list_mounts", lambda host: mounts)
        told = filesystem.guest_get_fsinfo(context(host, Schema({}), Policy()))
        return [one["mountpoint"] for one in told]

    assert meanwhile(machine, how, work) == [f"{machine.at}/kept"]
