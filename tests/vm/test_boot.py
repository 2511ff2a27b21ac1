"""The test guest itself: what every other test of this directory relies on, without our agent."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.vm.guest import REFERENCE_PORT, Disk, Guest, GuestError
from tests.vm.image import Image


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    disks = [Disk("nvme,serial=qga-nvme", size=512 << 20), Disk("ide-hd")]  # xfs is for 300 MiB and more
    with Guest(image, swap=False, disks=disks) as guest:
        guest.boot()
        yield guest


def test_tests_of_one_guest_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """Or each of them boots it again, beside the others."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@test_boot")


def test_shell_returns_status_and_output(guest: Guest) -> None:
    assert guest.shell("echo out; echo err >&2; exit 3") == (3, "out\nerr\n")
    assert guest.check("id -u; . /etc/os-release; echo $VERSION_CODENAME") == "0\nbookworm\n"


def test_shell_answers_while_a_script_hangs(guest: Guest) -> None:
    slow = guest.shell_start("sleep 3; echo slow")
    assert guest.shell("echo quick") == (0, "quick\n")
    assert guest.shell_result(slow) == (0, "slow\n")


def test_shell_carries_much_output(guest: Guest) -> None:
    assert len(guest.check("head -c 3000000 /dev/zero | tr '\\0' x")) == 3_000_000


def test_waiting_ends_in_time_and_says_what_was_missed(guest: Guest) -> None:
    begun = time.monotonic()
    with pytest.raises(GuestError, match="did not answer within 1 s"):
        guest.shell("sleep 5", timeout=1)
    with pytest.raises(GuestError, match="no event SUSPEND within 1 s"):
        guest.wait_event("SUSPEND", timeout=1)
    assert time.monotonic() - begun < 4


def test_reference_agent_answers_on_a_port_of_its_own(guest: Guest) -> None:
    guest.check(f"systemd-run --unit=reference /usr/sbin/qemu-ga -p /dev/virtio-ports/{REFERENCE_PORT}")
    with guest.peer(REFERENCE_PORT) as peer:
        peer.sync()
        assert peer.call("guest-ping") == {}
        assert peer.call("guest-info")["version"].startswith("7.2")
    guest.check("systemctl stop reference")


def test_further_disks_are_there(guest: Guest) -> None:
    guest.check("udevadm wait --settle --timeout=60 /dev/nvme0n1 /dev/sda")
    assert "qga-nvme" in guest.check("lsblk -dno SERIAL /dev/nvme0n1")
    guest.check("mkfs.xfs -q /dev/nvme0n1 && mkfs.btrfs -q /dev/sda && wipefs -aq /dev/nvme0n1 /dev/sda")


def test_second_suspend_sleeps_like_the_first(guest: Guest) -> None:
    """The kernel alone can suspend twice; otherwise every test of the agent's suspend would be worthless."""
    boot = guest.boot_id()
    for _ in range(2):
        asleep = guest.shell_start("echo mem >/sys/power/state")
        guest.wait_event("SUSPEND")
        assert guest.query_status() == "suspended"
        guest.wakeup()
        assert guest.shell_result(asleep) == (0, "")
    assert guest.boot_id() == boot


def test_guest_leaves_nothing_behind(image: Image) -> None:
    with Guest(image, swap=False) as guest:
        guest.start()
        assert guest.query_status() == "running"
    assert not guest.directory.exists()
    with pytest.raises(RuntimeError, match="not running"):
        guest.query_status()
