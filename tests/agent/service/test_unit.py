"""The drop-in that --print-unit prints. What its limits do is in tests/vm/test_limits.py."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from qga.agent import config
from qga.agent.cli import main
from qga.agent.config import options
from qga.agent.linux import power
from qga.agent.linux.host import Host
from qga.agent.service import unit
from tests.conftest import FakePrograms
from tests.repository import REPOSITORY


def settings(profile: str, **changes: object) -> list[tuple[str, str]]:
    """The settings of the drop-in, in order: a name may come more than once."""
    head, *lines = unit.drop_in(config.defaults(**changes), profile).splitlines()
    assert head.startswith("#")
    assert f"profile {profile}" in head
    section = lines.index("[Service]")
    assert all(line.startswith("#") for line in lines[:section])
    found = [re.fullmatch(r"([A-Z][A-Za-z]+)=(.*)", line) for line in lines[section + 1 :]]
    assert None not in found
    return [(match[1], match[2]) for match in found if match]


def one(profile: str, name: str, **changes: object) -> str | None:
    values = [value for key, value in settings(profile, **changes) if key == name]
    assert len(values) <= 1
    return values[0] if values else None


def test_full_is_the_unit_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGA_CONF", "/dev/null")
    assert main(["--print-unit"]) == 0
    text = capsys.readouterr().out
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert dict(parser["Service"]) == {}
    assert settings("full") == []


@pytest.mark.parametrize("profile", [name for name in options.PROFILES if name != "full"])
def test_a_restricted_profile_keeps_few_privileges(profile: str) -> None:
    assert one(profile, "NoNewPrivileges") == "yes"
    kept = str(one(profile, "CapabilityBoundingSet")).split()
    assert 0 < len(kept) <= 10
    assert {"CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_NET_ADMIN", "CAP_SYS_BOOT"}.isdisjoint(kept)
    filters = [value for name, value in settings(profile) if name == "SystemCallFilter"]
    assert filters[0] == ""  # the unit's own is a list of what is denied: another sort may not be added to it


@pytest.mark.parametrize("profile", ["managed", "backup"])
def test_a_profile_that_freezes_sees_every_mount(profile: str) -> None:
    """The drop-in has no setting that makes systemd create a mount namespace: systemd.exec(5)."""
    namespaced = (
        "Protect(System|Home|Kernel|Control|Proc|Host)|Private|Read(Write|Only)|Inaccessible|Bind|RootD|Temp|Proc"
    )
    assert [name for name, _ in settings(profile) if re.match(namespaced, name)] == []
    assert "CAP_SYS_ADMIN" in str(one(profile, "CapabilityBoundingSet"))
    assert one(profile, "User") is None


@pytest.mark.parametrize("profile", ["info", "confidential"])
def test_a_read_only_profile_does_not_run_as_root(profile: str) -> None:
    assert one(profile, "User") == "qemu-ga"
    assert one(profile, "AmbientCapabilities") == one(profile, "CapabilityBoundingSet") == "CAP_KILL"
    assert one(profile, "ProtectSystem") == "strict"


def test_the_port_is_accessible_to_the_agent_only() -> None:
    """udev gives the port to root only; a unit with another user gives it to that user while it runs."""
    rules = [line for line in (REPOSITORY / "qemu-ga.rules").read_text().splitlines() if not line.startswith("#")]
    assert len(rules) == 1
    assert not re.search("GROUP|MODE|OWNER|RUN", rules[0])
    port = "/dev/virtio-ports/org.qemu.guest_agent.0"
    assert f"ExecStartPre=+-/bin/chown root {port}" in (REPOSITORY / "qemu-ga.service").read_text().splitlines()
    for profile in ("info", "confidential"):
        assert one(profile, "ExecStartPre") == f"+/bin/chown qemu-ga {port}"
        assert one(profile, "ExecStopPost") == f"+-/bin/chown root {port}"
        assert (
            one(profile, "ExecStartPre", path='/dev/a "b" 100%$x') == '+/bin/chown qemu-ga "/dev/a \\"b\\" 100%%$$x"'
        )
        assert one(profile, "ExecStartPre", method="unix-listen", path="/run/x") is None
    for profile in ("full", "managed", "backup"):
        assert one(profile, "ExecStartPre") is None


@pytest.mark.forks
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("profile", options.PROFILES)
def test_systemd_accepts_the_unit_with_each_drop_in(profile: str, tmp_path: Path) -> None:
    text = (REPOSITORY / "qemu-ga.service").read_text().replace("/opt/qga/bin/qemu-ga", "/bin/true")
    (tmp_path / "qemu-ga.service").write_text(text)
    drop_ins = tmp_path / "qemu-ga.service.d"
    drop_ins.mkdir()
    (drop_ins / "limits.conf").write_text(unit.drop_in(config.defaults(), profile))
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "qemu-ga.service")]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_LOG_COLOR": "0"}
    )
    ours = [line for line in done.stderr.splitlines() if "qemu-ga" in line or str(tmp_path) in line]
    assert ours == []


def test_a_program_that_is_killed_for_memory_does_not_take_the_agent_down() -> None:
    """By default it would: systemd.service(5). The test in a guest is in tests/vm/test_limits.py."""
    assert "OOMPolicy=continue" in (REPOSITORY / "qemu-ga.service").read_text().splitlines()


def test_a_hook_may_become_other_users() -> None:
    assert "CAP_SETUID" not in str(one("backup", "CapabilityBoundingSet"))
    assert "CAP_SETUID" in str(one("backup", "CapabilityBoundingSet", fsfreeze_hook="/etc/qemu/fsfreeze-hook"))
    assert "CAP_SETUID" not in str(one("info", "CapabilityBoundingSet", fsfreeze_hook="/etc/qemu/fsfreeze-hook"))


def test_logs_and_devices_can_be_reached() -> None:
    assert one("info", "ReadWritePaths", audit_log="/var/log/qga/audit.log") == "-/var/log/qga"
    assert one("info", "ReadWritePaths", audit_log="journal") is None
    assert one("info", "DeviceAllow") == "char-virtio-portsdev rw"
    assert one("info", "SupplementaryGroups", method="isa-serial") == "dialout"
    assert one("info", "RestrictAddressFamilies", method="vsock-listen") == "AF_UNIX AF_NETLINK AF_VSOCK"


@pytest.mark.parametrize(("mode", "number"), [("halt", 3), ("powerdown", 4), ("reboot", 5)])
def test_without_root_shutdown_signals_the_init(
    host: Host, programs: FakePrograms, mode: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    monkeypatch.setattr(Host, "signal_init", lambda host, number: sent.append(number))
    os.makedirs(host.path("/run/systemd/system"))
    assert power.shut_down(host, mode) == []
    assert sent == [signal.SIGRTMIN + number]
    assert programs.calls == []


def test_a_signal_that_is_not_permitted_falls_back_to_the_next_method(
    host: Host, programs: FakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(host: Host, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 999)
    monkeypatch.setattr(Host, "signal_init", refuse)
    os.makedirs(host.path("/run/systemd/system"))
    refusals = power.shut_down(host, "powerdown")
    assert refusals[0] == "signal to init: Operation not permitted"
    assert programs.calls[0] == "systemctl poweroff"
