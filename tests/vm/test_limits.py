"""The limits of each profile, on the real service: what the profile permits works within them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.image import Image
from tests.vm.peer import AgentError

SERVICE = "qemu-ga.service"
DROP_IN = f"/etc/systemd/system/{SERVICE}.d/limits.conf"
LOOKING = [
    *("guest-ping", "guest-info", "guest-get-osinfo", "guest-get-host-name", "guest-get-timezone", "guest-get-users"),
    *("guest-get-fsinfo", "guest-get-disks", "guest-get-diskstats", "guest-get-cpustats", "guest-get-load"),
    *("guest-get-vcpus", "guest-get-memory-blocks", "guest-get-memory-block-info", "guest-get-time"),
    *("guest-network-get-interfaces", "guest-network-get-route", "guest-fsfreeze-status"),
]


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    with Guest(image) as guest:
        guest.boot()
        guest.check("useradd --create-home ann")
        yield guest


@pytest.fixture(scope="module")
def everything(guest: Guest) -> dict[str, object]:
    """Return the replies of an agent without limits."""
    limit(guest, "full")
    return still(look(guest))


@pytest.fixture(scope="module")
def exposure_of_info(guest: Guest, everything: dict[str, object]) -> float:
    """Give the agent the limits of the profile info from here on, and return its exposure."""
    return limit(guest, "info")


def limit(guest: Guest, profile: str, **changes: str) -> float:
    """Install the drop-in and restart the agent; return its exposure by systemd-analyze, 0 to 10."""
    given = f"config.defaults(**{changes!r}), {profile!r}"
    program = (
        f"from qga.agent import config; from qga.agent.service import unit; print(unit.drop_in({given}), end='')"
    )
    maker = "/opt/qga/bin/qemu-ga --print-unit" if profile == "full" else f'/opt/qga/bin/python -c "{program}"'
    guest.check(f"mkdir -p {DROP_IN.rpartition('/')[0]}; {maker} > {DROP_IN}")
    guest.check(f"systemctl daemon-reload && systemctl restart {SERVICE}", timeout=120)
    assert guest.shell(f"systemd-analyze verify {SERVICE} 2>&1 | grep -F limits.conf")[1] == ""
    said = guest.check(f"systemd-analyze security --no-pager {SERVICE} | tail -1")
    found = re.search(r"exposure level for qemu-ga.service: ([0-9.]+)", said)
    assert found, said
    print(f"systemd-analyze security, {profile}: {found[1]}")
    return float(found[1])


def returned(guest: Guest, name: str, /, **arguments: Any) -> Any:
    with guest.peer() as peer:
        peer.sync()
        return peer.call(name, **arguments)


def user_of(guest: Guest) -> str:
    return guest.check(f"ps -o user= -p $(systemctl show -P MainPID {SERVICE})").strip()


def look(guest: Guest) -> dict[str, object]:
    with guest.peer() as peer:
        peer.sync()
        return {name: peer.call(name) for name in LOOKING}


def still(told: dict[str, object]) -> dict[str, object]:
    """Return the values that do not change between two reads."""
    stable = ("osinfo", "host-name", "timezone", "users", "disks", "vcpus", "memory-block-info", "interfaces")
    kept = {name: value for name, value in told.items() if name.endswith(stable)}
    kept["mountpoints"] = sorted(f["mountpoint"] for f in told["guest-get-fsinfo"])  # type: ignore[attr-defined]
    for interface in kept["guest-network-get-interfaces"]:  # type: ignore[attr-defined]
        interface.pop("statistics", None)
    return kept


def freeze_and_thaw(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        frozen = peer.call("guest-fsfreeze-freeze")
        assert frozen == peer.call("guest-fsfreeze-thaw")
        assert frozen >= 1


def test_profile_full_has_the_limits_of_the_unit_only(guest: Guest) -> None:
    exposure = limit(guest, "full")
    assert user_of(guest) == "root"
    with guest.peer() as peer:
        peer.sync()
        pid = peer.call("guest-exec", path="/usr/bin/su", arg=["-c", "id -un", "ann"], capture_output=True)["pid"]
        while not (ended := peer.call("guest-exec-status", pid=pid))["exited"]:
            pass
    assert ended["exitcode"] == 0
    assert exposure > 5


def test_a_program_that_is_killed_for_memory_does_not_take_the_agent_down(guest: Guest) -> None:
    limit(guest, "full")
    before = guest.check(f"systemctl show -P MainPID {SERVICE}")
    guest.check(f"systemctl set-property --runtime {SERVICE} MemoryMax=120M MemorySwapMax=0")
    try:
        with guest.peer() as peer:
            peer.sync()
            handle = peer.call("guest-file-open", path="/etc/hostname")
            hog = ["-c", "x = b'x' * 400_000_000; print('lives')"]
            pid = peer.call("guest-exec", path="/usr/bin/python3", arg=hog, capture_output=True)["pid"]
            while not (ended := peer.call("guest-exec-status", pid=pid))["exited"]:
                pass
            assert ended == {"exited": True, "signal": 9}
            peer.call("guest-file-close", handle=handle)
    finally:
        guest.check(f"systemctl set-property --runtime {SERVICE} MemoryMax=infinity MemorySwapMax=infinity")
    assert "oom_kill 1" in guest.check(f"cat /sys/fs/cgroup$(systemctl show -P ControlGroup {SERVICE})/memory.events")
    assert guest.check(f"systemctl show -P MainPID {SERVICE}") == before
    assert guest.check(f"systemctl show -P NRestarts {SERVICE}").strip() == "0"


PORT = "/dev/virtio-ports/org.qemu.guest_agent.0"


def owner_of_port(guest: Guest) -> str:
    return guest.check(f"stat -L -c %U:%G:%a {PORT}").strip()


def test_the_port_is_accessible_to_the_agents_user_only(guest: Guest) -> None:
    limit(guest, "full")
    assert owner_of_port(guest) == "root:root:600"
    limit(guest, "info")
    assert owner_of_port(guest) == "qemu-ga:root:600"
    assert returned(guest, "guest-ping") == {}
    guest.check(f"systemctl stop {SERVICE}")
    assert owner_of_port(guest) == "root:root:600"
    guest.check(f"systemctl start {SERVICE}")
    assert owner_of_port(guest) == "qemu-ga:root:600"
    limit(guest, "managed")
    assert owner_of_port(guest) == "root:root:600"


def test_managed(guest: Guest, everything: dict[str, object]) -> None:
    assert limit(guest, "managed") < 7
    assert still(look(guest)) == everything
    freeze_and_thaw(guest)
    with guest.peer() as peer:
        peer.sync()
        assert peer.call("guest-fstrim")["paths"]
        peer.call("guest-set-time", time=1_900_000_000_000_000_000)
        assert guest.check("date +%Y").strip() == "2030"
        peer.call("guest-set-vcpus", vcpus=[{"logical-id": 1, "online": False}])
        assert guest.check("cat /sys/devices/system/cpu/online").strip() == "0"
        peer.call("guest-set-vcpus", vcpus=[{"logical-id": 1, "online": True}])
        peer.call("guest-set-user-password", username="ann", password="aGVsbG8=", crypted=False)
        assert guest.check("getent shadow ann").split(":")[1].startswith("$y$")
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ ann"
        peer.call("guest-ssh-add-authorized-keys", username="ann", keys=[key])
        assert guest.check("stat -c %U:%a /home/ann/.ssh/authorized_keys").strip() == "ann:600"
        assert peer.call("guest-ssh-get-authorized-keys", username="ann") == {"keys": [key]}
    with guest.peer() as peer:
        peer.sync()
        peer.request("guest-suspend-ram")
        guest.wait_event("SUSPEND", 120)
        guest.wakeup(60)
    assert returned(guest, "guest-ping") == {}


def test_backup(guest: Guest, everything: dict[str, object]) -> None:
    assert limit(guest, "backup") < 7
    assert still(look(guest)) == everything
    freeze_and_thaw(guest)
    with guest.peer() as peer:
        peer.sync()
        assert peer.call("guest-fstrim")["paths"]
        with pytest.raises(AgentError, match="Operation not permitted"):  # what it does not need is not there
            peer.call("guest-set-time", time=1_900_000_000_000_000_000)


def test_backup_with_a_hook_that_works_as_another_user(guest: Guest) -> None:
    conf, hook, said = "/etc/qemu/qemu-ga.conf", "/etc/qemu/hook", "/run/hook.log"
    script = f'#!/bin/sh\necho "$1 $(runuser -u ann -- id -un)" >> {said}\n'
    guest.check(f"mkdir -p /etc/qemu; printf '[general]\nfsfreeze-hook={hook}\n' > {conf}")
    guest.check(f"cat > {hook} <<'END'\n{script}END\nchmod 700 {hook}")
    try:
        limit(guest, "backup", fsfreeze_hook=hook)
        freeze_and_thaw(guest)
        assert guest.check(f"cat {said}").splitlines() == ["freeze ann", "thaw ann"]
    finally:
        guest.check(f"rm {conf} {hook}")


def test_info_is_not_root_and_sees_what_root_sees(
    guest: Guest, exposure_of_info: float, everything: dict[str, object]
) -> None:
    assert exposure_of_info < 3
    assert user_of(guest) == "qemu-ga"
    assert still(look(guest)) == everything
    with guest.peer() as peer:
        peer.sync()
        with pytest.raises(AgentError, match="Permission denied"):
            peer.call("guest-file-open", path="/etc/shadow")


@pytest.mark.usefixtures("exposure_of_info")
def test_a_filesystem_mounted_later_is_seen_by_info(guest: Guest) -> None:
    guest.check(
        "truncate -s 32M /later.img && mkfs.ext4 -q /later.img && mkdir -p /later && mount -o loop /later.img /later"
    )
    try:
        found = {f["mountpoint"] for f in returned(guest, "guest-get-fsinfo")}
        assert "/later" in found
    finally:
        guest.check("umount /later && rm /later.img")


@pytest.mark.usefixtures("exposure_of_info")
def test_the_audit_log_of_an_agent_that_is_not_root_is_in_the_journal(guest: Guest) -> None:
    assert returned(guest, "guest-get-timezone")
    guest.check("journalctl --sync")
    found = guest.check("journalctl -q -b QGA_COMMAND=guest-get-timezone -o json -n 1")
    assert '"QGA_DECISION":"allowed"' in found
    assert '"_SYSTEMD_UNIT":"qemu-ga.service"' in found


def test_confidential_is_not_root_and_can_shut_the_guest_down(guest: Guest) -> None:
    """Last: it does."""
    assert limit(guest, "confidential") < 2.5
    assert user_of(guest) == "qemu-ga"
    with guest.peer() as peer:
        peer.sync()
        assert peer.call("guest-get-time") > 0
        assert peer.call("guest-info")["version"]
        peer.request("guest-shutdown")
        assert guest.wait_exit(120) == 0
