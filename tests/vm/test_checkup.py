"""The self-test in a guest: with a working agent, and with things broken on purpose."""

from __future__ import annotations

import json
from typing import Any

from tests.vm.guest import AGENT_PORT, Guest
from tests.vm.service import SERVICE, answers, pid

CHECK = "/opt/qga/bin/qemu-ga --self-test"


def check_up(guest: Guest, options: str = "") -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Return the exit status, and the findings by the check that produced them."""
    status, output = guest.shell(f"{CHECK} --json {options}", timeout=120)
    report = json.loads(output)
    assert report["status"] == status
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return status, found


def worst(findings: list[dict[str, Any]]) -> str:
    return str(max((f["status"] for f in findings), key=["ok", "warning", "problem"].index))


def test_a_healthy_guest(guest: Guest) -> None:
    before = pid(guest)
    with guest.peer() as peer:
        peer.sync()
        status, found = check_up(guest)
        print(guest.shell(CHECK)[1])
        assert peer.call("guest-ping") == {}  # nothing was taken from the connection
    assert status == 0, found
    whats = [finding["what"] for findings in found.values() for finding in findings]
    assert f"{SERVICE} is active, as process {before} of user root" in whats
    assert any(f"is held by process {before}: /opt/qga/bin/python3 /opt/qga/bin/qemu-ga" in what for what in whats)
    assert "a host is connected" in whats
    assert any(what.startswith("/ (ext4 on /dev/") and what.endswith("can be frozen") for what in whats)
    assert any("guest-suspend-ram would use " in what for what in whats)
    assert pid(guest) == before
    assert (
        guest.check("cat /sys/power/wakeup_count >/dev/null; systemctl show -P NRestarts " + SERVICE).strip() == "0"
    )


def test_without_a_host_and_without_debugfs(guest: Guest) -> None:
    assert answers(guest)
    assert any(f["what"] == "no host is connected now" for f in check_up(guest)[1]["port"])
    guest.check("umount /sys/kernel/debug")
    try:
        assert any("is not known" in f["what"] for f in check_up(guest)[1]["port"])
    finally:
        guest.check("mount -t debugfs debugfs /sys/kernel/debug")
    assert answers(guest)


def test_an_agent_that_does_not_run(guest: Guest) -> None:
    guest.check(f"systemctl stop {SERVICE}")
    try:
        status, found = check_up(guest)
        assert status == 2
        assert worst(found["service"]) == worst(found["port"]) == "problem"
        assert any("no process holds it" in f["what"] for f in found["port"])
        with guest.peer():
            guest.check("sleep 1")
            assert any(f["what"] == "a host is connected" for f in check_up(guest)[1]["port"])
    finally:
        guest.check(f"systemctl start {SERVICE}")
    assert answers(guest)


def test_another_agent_that_holds_the_port(guest: Guest) -> None:
    guest.check(f"systemctl stop {SERVICE}")
    try:
        guest.check(f"systemd-run --unit debians /usr/sbin/qemu-ga -p /dev/virtio-ports/{AGENT_PORT}; sleep 2")
        _, found = check_up(guest)
        assert any("another program: /usr/sbin/qemu-ga" in f["what"] for f in found["port"])
    finally:
        guest.check(f"systemctl stop debians; systemctl start {SERVICE}")
    assert answers(guest)


def test_insecure_configuration(guest: Guest) -> None:
    conf, hook = "/etc/qemu/qemu-ga.conf", "/etc/qemu/hook"
    guest.check(
        f"mkdir -p /etc/qemu /var/log/qga; printf '[general]\\naudit-log=/var/log/qga/audit\\ndaemonize=1\\n"
        f"fsfreeze-hook={hook}\\n' > {conf}; touch /var/log/qga/audit {hook}; chmod 644 /var/log/qga/audit;"
        f"chmod 666 {conf}; chmod 777 {hook}"
    )
    try:
        status, found = check_up(guest)
        assert status == 2
        assert {f["status"] for f in found["permissions"]} == {"problem", "warning"}
        assert worst(found["hooks"]) == "problem"
        assert worst(found["configuration"]) == "warning"
        guest.check(f"chmod 600 {conf} /var/log/qga/audit; chmod 700 {hook}")
        _, found = check_up(guest)
        assert worst(found["permissions"]) == worst(found["hooks"]) == "ok"
    finally:
        guest.check(f"rm -r {conf} /var/log/qga {hook}")


def test_filesystems_that_are_not_frozen_and_why(guest: Guest) -> None:
    guest.check(
        "mkdir -p /mnt/v /mnt/x; truncate -s 40M /v.img /x.img; mkfs.vfat /v.img >/dev/null; mkfs.ext4 -q /x.img;"
        "mount -o loop /v.img /mnt/v; mount -o loop /x.img /mnt/x"
    )
    try:
        _, found = check_up(guest, "--exclude-fs /mnt/x")
        whats = [f["what"] for f in found["freezing"]]
        assert any(what.startswith("/mnt/v (vfat") and "cannot freeze vfat" in what for what in whats)
        assert any(what.startswith("/mnt/x (ext4") and what.endswith("exclude-fs") for what in whats)
        with guest.peer() as peer:
            peer.sync()
            can = sum(f["what"].endswith("can be frozen") for f in check_up(guest)[1]["freezing"])
            assert peer.call("guest-fsfreeze-freeze", timeout=60) == can  # the kernel agrees
            assert peer.call("guest-fsfreeze-thaw", timeout=60) == can
    finally:
        guest.check("umount /mnt/v /mnt/x; rm /v.img /x.img")
