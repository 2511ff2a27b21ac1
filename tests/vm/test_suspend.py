"""A host puts its guest to sleep and wakes it: every kind of sleep, by every method, and the refusals.

pm-utils and systemd both exist in the guest; the methods before the one that is meant are left out by taking the
execute bit from their programs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest
from tests.vm.peer import AgentError

PM_PROGRAMS = "/usr/bin/pm-is-supported /usr/sbin/pm-suspend /usr/sbin/pm-hibernate /usr/sbin/pm-suspend-hybrid"
LEAVE_OUT = {"pm-utils": "", "systemd": PM_PROGRAMS, "kernel": f"{PM_PROGRAMS} /usr/bin/busctl"}
METHODS = list(LEAVE_OUT)
ASLEEP = 90.0  # seconds that falling asleep may take under software emulation
AT_ONCE = 30.0  # seconds for a reply after the wake-up: pm-utils runs its hooks for resume before it returns


@pytest.fixture
def only(guest: Guest, request: pytest.FixtureRequest) -> Iterator[str]:
    """The method that is left to try first."""
    method: str = request.param
    if LEAVE_OUT[method]:
        guest.check(f"chmod a-x {LEAVE_OUT[method]}")
    guest.check("rm -f /var/log/pm-suspend.log; journalctl --rotate --vacuum-time=1s; dmesg -C")
    yield method
    guest.check(f"chmod a+x {LEAVE_OUT['kernel']}")


def acted(guest: Guest) -> str:
    """Return the method that put the guest to sleep, recognised by its traces."""
    return guest.check("""
        if [ -e /var/log/pm-suspend.log ]; then echo pm-utils
        elif journalctl -q -b -t systemd-sleep | grep -q .; then echo systemd
        elif dmesg | grep -q 'PM: .*\\(suspend\\|hibernation\\)'; then echo kernel
        else echo nobody; dmesg | tail; fi""").strip()


@pytest.mark.parametrize("only", METHODS, indirect=True)
def test_suspend_to_ram(guest: Guest, only: str) -> None:
    boot = guest.boot_id()
    with guest.peer() as peer:
        peer.sync()
        assert peer.call("guest-ping") == {}
        peer.request("guest-suspend-ram")
        guest.wait_event("SUSPEND", ASLEEP)
        assert guest.query_status() == "suspended"
        guest.wakeup()
        assert guest.query_status() == "running"
        # No reply came for the suspend: the next line is the ping's.
        assert peer.call("guest-ping", timeout=AT_ONCE) == {}
    assert guest.boot_id() == boot
    assert acted(guest) == only


@pytest.mark.parametrize("only", METHODS, indirect=True)
def test_suspend_to_disk(guest: Guest, only: str) -> None:
    boot = guest.boot_id()
    with guest.peer() as peer:
        peer.sync()
        peer.request("guest-suspend-disk")
        assert guest.wait_exit(ASLEEP) == 0
    guest.start()
    with guest.peer(timeout=ASLEEP) as peer:
        peer.sync()
        assert peer.call("guest-info")["version"] == "10.2.2"
    assert guest.boot_id() == boot
    assert acted(guest) == only


@pytest.mark.parametrize("only", METHODS, indirect=True)
def test_suspend_hybrid(guest: Guest, only: str) -> None:
    boot = guest.boot_id()
    with guest.peer() as peer:
        peer.sync()
        peer.request("guest-suspend-hybrid")
        guest.wait_event("SUSPEND", ASLEEP)
        assert guest.query_status() == "suspended"
        guest.wakeup()
        assert peer.call("guest-ping", timeout=AT_ONCE) == {}
    assert guest.boot_id() == boot
    assert acted(guest) == only


def test_hybrid_survives_a_power_cut(guest: Guest) -> None:
    """After a power cut while suspended to RAM, the guest resumes from the image on its disk."""
    boot = guest.boot_id()
    with guest.peer() as peer:
        peer.sync()
        peer.request("guest-suspend-hybrid")
        guest.wait_event("SUSPEND", ASLEEP)
    guest.kill()
    guest.start()
    with guest.peer(timeout=ASLEEP) as peer:
        peer.sync()
    assert guest.boot_id() == boot


@pytest.mark.parametrize("only", ["pm-utils"], indirect=True)
def test_failing_method_falls_back_to_the_next(guest: Guest, only: str) -> None:
    guest.check("mount --bind /usr/bin/false /usr/sbin/pm-suspend")
    try:
        with guest.peer() as peer:
            peer.sync()
            peer.request("guest-suspend-ram")
            guest.wait_event("SUSPEND", ASLEEP)
            guest.wakeup()
            assert peer.call("guest-ping", timeout=AT_ONCE) == {}
    finally:
        guest.check("umount /usr/sbin/pm-suspend")
    assert acted(guest) == "systemd"


def test_without_swap_every_method_says_why(guest: Guest) -> None:
    guest.check("swapoff -a")
    try:
        with guest.peer() as peer:
            peer.sync()
            with pytest.raises(AgentError) as caught:
                peer.call("guest-suspend-disk", timeout=ASLEEP)
            assert peer.call("guest-ping") == {}
    finally:
        guest.check("swapon -a")
    for method in METHODS:
        assert f"{method}: " in caught.value.desc
    assert guest.query_status() == "running"


def test_killed_helper_is_an_error(guest: Guest) -> None:
    """QEMU's own agent treats a helper killed by a signal as exit status 0."""
    guest.check("printf '#!/bin/sh\\nkill -KILL $$\\n' > /usr/local/bin/dies; chmod +x /usr/local/bin/dies")
    guest.check("for p in pm-suspend systemctl; do mount --bind /usr/local/bin/dies $(command -v $p); done")
    guest.check("cat /sys/power/state > /run/state; mount --bind /run/state /sys/power/state")
    guest.check("mount -o remount,bind,ro /sys/power/state")
    try:
        with guest.peer() as peer:
            peer.sync()
            died = "pm-suspend: killed by SIGKILL; systemd: .*killed by SIGKILL; kernel: .*Read-only file system"
            with pytest.raises(AgentError, match=died):
                peer.call("guest-suspend-ram", timeout=ASLEEP)
    finally:
        guest.check("umount /sys/power/state /usr/sbin/pm-suspend /usr/bin/systemctl")
