"""The self-test: the findings of each check on a guest made of a directory tree; no check changes anything."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qga.agent import config, selftest
from qga.agent.cli import main
from qga.agent.config import Loaded
from qga.agent.config.cmdline import Given
from qga.agent.config.options import Action
from qga.agent.linux.host import Host, Outcome
from qga.agent.selftest import configuration, guest, port, service
from qga.agent.selftest.finding import Finding, Subject
from qga.protocol import schema
from tests.conftest import FakePrograms, write
from tests.repository import REPOSITORY

NAME = "org.qemu.guest_agent.0"
AGENT = "/opt/qga/bin/python3\0/opt/qga/bin/qemu-ga\0"
MOUNTINFO = """\
22 1 254:1 / / rw - ext4 /dev/vda1 rw
23 22 254:2 / /boot/efi rw - vfat /dev/vda2 rw
24 22 254:3 / /data rw - xfs /dev/vdb rw
25 22 254:4 / /mnt/old rw - ext4 /dev/vdc rw
26 22 0:5 / /proc rw - proc proc rw
27 22 0:6 / /mnt rw - tmpfs tmpfs rw
"""

Look = Callable[..., list[tuple[str, str]]]


def subject(host: Host, **changes: Any) -> Subject:
    return Subject(host, config.defaults(**changes), "/etc/qemu/qemu-ga.conf")


def found_by(check: selftest.Check, subject: Subject) -> list[tuple[str, str]]:
    return [(finding.status, finding.what) for finding in check(subject)]


def link(host: Host, path: str, target: str) -> None:
    Path(host.path(path)).parent.mkdir(parents=True, exist_ok=True)
    os.symlink(target, host.path(path))


def process(host: Host, pid: int, cmdline: str, *opened: str) -> None:
    write(host, f"/proc/{pid}/cmdline", cmdline)
    for number, target in enumerate(opened):
        link(host, f"/proc/{pid}/fd/{number}", target)


@pytest.fixture
def with_port(host: Host) -> str:
    """The device of a guest that has the port, as udev shows it."""
    write(host, "/dev/vport1p1", "")
    os.chmod(host.path("/dev/vport1p1"), 0o600)
    link(host, "/dev/virtio-ports/org.qemu.guest_agent.0", "../vport1p1")
    (Path(host.path("/proc"))).mkdir()
    return os.path.realpath(host.path("/dev/vport1p1"))


def test_a_port_held_by_the_agent_with_a_host_connected(host: Host, with_port: str) -> None:
    process(host, 300, AGENT, "/dev/null", with_port)
    write(host, "/sys/kernel/debug/virtio-ports/vport1p1", "name: org\nguest_connected: 1\nhost_connected: 1\n")
    assert found_by(port.port, subject(host)) == [
        ("ok", f"{with_port} is held by process 300: /opt/qga/bin/python3 /opt/qga/bin/qemu-ga"),
        ("ok", "a host is connected"),
    ]


def test_a_port_that_is_held_is_not_opened(host: Host, with_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    process(host, 300, AGENT, with_port)
    opened = []
    real = os.open

    def note(path: str, flags: int, mode: int = 0o777) -> int:
        opened.append(path)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", note)
    found = found_by(port.port, subject(host))
    assert with_port not in opened
    assert found[1][0] == "ok"
    assert "is not known" in found[1][1]


def test_a_port_that_another_agent_holds(host: Host, with_port: str) -> None:
    process(host, 300, "/usr/sbin/qemu-ga\0", with_port)
    found = list(port.port(subject(host)))
    assert found[0].status == "problem"
    assert "another program: /usr/sbin/qemu-ga" in found[0].what
    assert "mask" in found[0].todo


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees who holds a port")
def test_a_port_that_no_process_holds(host: Host, with_port: str) -> None:
    process(host, 300, AGENT, "/dev/null")
    assert found_by(port.port, subject(host))[0] == ("problem", f"{with_port} exists, and no process holds it")


def test_a_port_that_others_can_open(host: Host, with_port: str) -> None:
    process(host, 77, AGENT, with_port)
    os.chmod(with_port, 0o660)
    said = found_by(port.port, subject(host))
    assert (
        "warning",
        f"users other than its owner can open {with_port} (mode 0660): they could answer the host",
    ) in said


def test_no_port(host: Host) -> None:
    (finding,) = port.port(subject(host))
    assert finding.status == "problem"
    assert "<channel>" in finding.todo


def test_a_port_without_a_link_of_udev(host: Host) -> None:
    write(host, "/dev/vport0p2", "")
    write(host, "/sys/class/virtio-ports/vport0p2/name", "org.qemu.guest_agent.0\n")
    process(host, 1, "init")
    assert found_by(port.port, subject(host))[0] == (
        "warning",
        "udev has not created the link /dev/virtio-ports/org.qemu.guest_agent.0, /dev/vport0p2 is used instead",
    )


def test_kernel_and_udev(host: Host) -> None:
    assert [status for status, _ in found_by(port.kernel_and_udev, subject(host))] == ["problem", "warning"]
    os.makedirs(host.path("/sys/bus/virtio/drivers/virtio_console"))
    write(host, "/run/udev/control", "")
    write(host, "/etc/udev/rules.d/60-other.rules", '# qemu-ga.service\nACTION=="add"\n')
    assert [status for status, _ in found_by(port.kernel_and_udev, subject(host))] == ["ok", "warning"]
    theirs = f'SUBSYSTEM=="virtio-ports", ATTR{{name}}=="{NAME}", ENV{{SYSTEMD_WANTS}}="qemu-guest-agent.service"\n'
    write(host, "/lib/udev/rules.d/60-qemu-guest-agent.rules", theirs)
    text = (
        "udev starts qemu-guest-agent.service with the port, not this agent"
        " (/lib/udev/rules.d/60-qemu-guest-agent.rules, line 1)"
    )
    assert list(found_by(port.kernel_and_udev, subject(host)))[1:] == [("problem", text)]
    os.makedirs(host.path("/etc/systemd/system"))
    os.symlink("/usr/lib/systemd/system/qemu-ga.service", host.path("/etc/systemd/system/qemu-guest-agent.service"))
    assert [status for status, _ in found_by(port.kernel_and_udev, subject(host))] == ["ok", "ok"]
    os.unlink(host.path("/etc/systemd/system/qemu-guest-agent.service"))
    write(host, "/usr/lib/udev/rules.d/61-qemu-ga.rules", (REPOSITORY / "qemu-ga.rules").read_text())
    text = "udev starts qemu-ga.service with the port (/usr/lib/udev/rules.d/61-qemu-ga.rules, line 3)"
    assert list(found_by(port.kernel_and_udev, subject(host)))[1:] == [("ok", text)]


def show(**values: str) -> Outcome:
    return Outcome(status=0, output="".join(f"{name}={value}\n" for name, value in values.items()).encode())


@pytest.mark.parametrize(
    ("ours", "other", "expected"),
    [
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "0", "MainPID": "7"}, "inactive", ["ok"]),
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "3"}, "inactive", ["warning"]),
        ({"LoadState": "loaded", "ActiveState": "failed", "Result": "exit-code"}, "inactive", ["problem"]),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "inactive", ["problem"]),
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "0"}, "active", ["ok", "problem"]),
    ],
)
def test_the_service(
    host: Host, programs: FakePrograms, ours: dict[str, str], other: str, expected: list[str]
) -> None:
    os.makedirs(host.path("/run/systemd/system"))
    programs.answers["systemctl show qemu-ga.service"] = show(**ours)
    programs.answers["systemctl show qemu-guest-agent.service"] = show(ActiveState=other)
    assert [status for status, _ in found_by(service.service, subject(host))] == expected


AVC = 'type=AVC msg=audit(1.2:3): avc:  denied  { open } for pid=7 comm="qemu-ga" path="/etc/x" permissive=0\n'
APPARMOR = '[1.0] audit: apparmor="DENIED" operation="open" profile="qemu-ga" name="/etc/x"\n'


@pytest.mark.parametrize(
    ("audit_log", "kernel_log", "expected"),
    [("", "", "ok"), (AVC, "", "warning"), ("", APPARMOR, "warning"), (AVC.replace("qemu-ga", "httpd"), "", "ok")],
)
def test_denials(host: Host, programs: FakePrograms, audit_log: str, kernel_log: str, expected: str) -> None:
    write(host, "/sys/fs/selinux/enforce", "1")
    write(host, "/var/log/audit/audit.log", audit_log)
    programs.answers["dmesg"] = Outcome(status=0, output=kernel_log.encode())
    ((status, what),) = found_by(service.denials, subject(host))
    assert status == expected
    assert ("1 denials" in what) == (expected == "warning")


def test_without_selinux_and_apparmor_no_log_is_read(host: Host, programs: FakePrograms) -> None:
    assert [status for status, _ in found_by(service.denials, subject(host))] == ["ok"]
    assert programs.calls == []


def test_filesystems(host: Host) -> None:
    write(host, "/proc/self/mountinfo", MOUNTINFO)
    assert found_by(guest.freezing, subject(host, statedir="/run", exclude_fs=("/data",))) == [
        ("ok", "/ (ext4 on /dev/vda1) can be frozen"),
        ("ok", "/boot/efi (vfat on /dev/vda2) is left out: the kernel cannot freeze vfat"),
        ("ok", "/data (xfs on /dev/vdb) is left out: exclude-fs"),
        ("warning", "/mnt/old (ext4 on /dev/vdc) is left out: another mount hides it"),
    ]


def test_no_filesystem_to_freeze_and_a_leftover_freeze(host: Host) -> None:
    write(host, "/proc/self/mountinfo", "22 1 254:1 / / rw - squashfs /dev/vda1 rw\n")
    write(host, "/run/qga.state.isfrozen", "")
    found = found_by(guest.freezing, subject(host, statedir="/run"))
    assert [status for status, _ in found] == ["warning", "ok", "warning"]
    assert found[0][1].startswith("filesystems are frozen now")


def test_hooks(host: Host, tmp_path: Path) -> None:
    assert found_by(guest.hooks_valid, subject(host)) == [("ok", "no fsfreeze-hook is configured")]
    write(host, "/etc/qemu/fsfreeze-hook", "#!/bin/sh\n")
    assert "exists" in found_by(guest.hooks_valid, subject(host))[0][1]
    given = subject(host, fsfreeze_hook="/etc/qemu/fsfreeze-hook")
    assert (
        found_by(guest.hooks_valid, given)[0][0] == "problem"
    )  # not executable, or in a directory that others can write to
    assert found_by(guest.hooks_valid, subject(host, fsfreeze_hook="/nowhere")) == [
        ("problem", "the fsfreeze hook /nowhere does not exist")
    ]


def test_a_hook_that_others_can_change_or_that_cannot_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    write(host, "/hook", "#!/bin/sh\n")
    given = subject(host, fsfreeze_hook="/hook")
    monkeypatch.setattr("qga.agent.linux.hooks.not_only_roots", lambda host, path: None)
    os.chmod(host.path("/hook"), 0o600)
    assert found_by(guest.hooks_valid, given) == [("problem", "the fsfreeze hook /hook cannot be executed")]
    os.chmod(host.path("/hook"), 0o700)
    assert found_by(guest.hooks_valid, given) == [("ok", "fsfreeze hooks: /hook")]
    monkeypatch.setattr("qga.agent.linux.hooks.not_only_roots", lambda host, path: "others may write")
    assert found_by(guest.hooks_valid, given)[0][0] == "problem"


def test_sleep_support_is_queried_without_sleeping(host: Host, programs: FakePrograms) -> None:
    write(host, "/sys/power/state", "freeze mem\n")
    programs.answers["pm-is-supported --suspend-hybrid"] = Outcome(status=0)
    programs.answers["pm-is-supported"] = Outcome(status=1)
    whats = [what for _, what in found_by(guest.sleeping, subject(host))]
    assert whats[0].startswith("guest-suspend-ram would use kernel (pm-utils: ")
    assert whats[1].startswith("guest-suspend-disk is not possible: pm-utils: ")
    assert whats[2] == "guest-suspend-hybrid would use pm-utils"
    assert {line.split()[0] for line in programs.calls} == {"pm-is-supported"}
    assert host.read("/sys/power/state") == "freeze mem\n"


def test_the_policy_in_short(host: Host) -> None:
    number = len(schema.load().commands)
    assert found_by(
        configuration.policy, subject(host, block_rpcs=("guest-exec", "guest-file-open", "guest-set-user-password"))
    ) == [("ok", f"{number - 3} of {number} commands are allowed")]
    assert "become root" in found_by(configuration.policy, subject(host))[1][1]


def test_an_audit_log_that_is_a_link(host: Host) -> None:
    write(host, "/srv/audit.log", "")
    write(host, "/var/log/x", "")
    Path(host.path("/var/log/audit.log")).symlink_to(host.path("/srv/audit.log"))
    link = "/var/log/audit.log"
    (found,) = found_by(configuration.audit_log, subject(host, audit_log=link))
    assert found == ("problem", f"the audit log {link} is a symbolic link, which is not followed")
    assert found_by(configuration.audit_log, subject(host, audit_log="/srv/audit.log"))[0][0] == "ok"


def test_who_can_read_and_change_what(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    write(host, "/etc/qemu/qemu-ga.conf", "[general]\n")
    write(host, "/var/log/qga/audit.log", "")
    audit = host.path("/var/log/qga/audit.log")
    monkeypatch.setattr(configuration, "not_only_roots", lambda host, path: None)
    given = subject(host, audit_log="/var/log/qga/audit.log")
    os.chmod(audit, 0o640)
    found = found_by(configuration.permissions, given)
    assert found[0] == ("warning", "users other than root can read the audit log /var/log/qga/audit.log (mode 0640)")
    os.chmod(audit, 0o600)
    assert found_by(configuration.permissions, given) == [
        ("ok", "only root can change /etc/qemu/qemu-ga.conf, /var/log/qga/audit.log")
    ]
    monkeypatch.setattr(configuration, "not_only_roots", lambda host, path: "mode 0666")
    assert [status for status, _ in found_by(configuration.permissions, given)] == ["problem", "problem"]


def test_a_configuration_that_others_can_change(host: Host) -> None:
    """With the real check of every parent directory: a temporary directory is writable by others."""
    write(host, "/etc/qemu/qemu-ga.conf", "[general]\n")
    os.chmod(host.path("/etc/qemu/qemu-ga.conf"), 0o666)
    ((status, what),) = found_by(configuration.permissions, subject(host))
    assert status == "problem"
    assert "users other than root may write" in what


@pytest.mark.parametrize(
    ("setting", "expected"), [("off", "ok"), (None, "ok"), ("journal", "problem"), ("/nowhere/x", "problem")]
)
def test_where_the_audit_log_goes(host: Host, setting: str | None, expected: str) -> None:
    ((status, _),) = found_by(configuration.audit_log, subject(host, audit_log=setting))
    assert status == expected


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
        if not stat.S_ISSOCK(path.lstat().st_mode)
    }


def test_the_whole_self_test_changes_nothing_and_prints_a_line_per_check(host: Host, with_port: str) -> None:
    write(host, "/proc/self/mountinfo", MOUNTINFO)
    write(host, "/proc/300/cmdline", AGENT)
    before = tree(Path(host.root))
    loaded = Loaded(Given(Action.SELF_TEST, None, {}), config.defaults(statedir="/"), ("a key is not known",))
    report = selftest.run_checks(loaded, host, selftest.CHECKS)
    assert tree(Path(host.root)) == before
    assert {name for name, _ in report} >= {name for name, _ in selftest.CHECKS if name not in ("permissions",)}
    lines = selftest.as_text(report).splitlines()
    assert len(lines) == len(report)
    assert all(line.split()[0] in ("ok", "warning", "problem") for line in lines)
    assert "warning  configuration: a key is not known -> correct it, or take it out" in lines
    parsed = json.loads(selftest.as_json(report))
    assert parsed["status"] == selftest.status(report) == 2
    assert [f["check"] for f in parsed["findings"]] == [name for name, _ in report]


@pytest.mark.parametrize(
    ("statuses", "expected"), [(["ok"], 0), (["ok", "warning"], 1), (["problem", "warning", "ok"], 2)]
)
def test_the_exit_status_is_that_of_the_worst_finding(statuses: list[str], expected: int) -> None:
    assert selftest.status([("x", Finding(status, "")) for status in statuses]) == expected


def test_a_check_that_raises_is_a_problem_and_the_others_still_run(host: Host) -> None:
    def broken(subject: Subject) -> Any:
        raise ZeroDivisionError("by zero")

    checks = (("broken", broken), ("versions", guest.versions))
    report = selftest.run_checks(Loaded(Given(Action.SELF_TEST, None, {}), config.defaults()), host, checks)
    assert [(name, finding.status) for name, finding in report] == [("broken", "problem"), ("versions", "ok")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("profil=info\nverbose=maybe", ["unknown key 'profil' (did you mean 'profile'?)", "'maybe' is not valid"]),
        ("method=unix-listen", ["must specify a path for this channel"]),
    ],
)
def test_an_invalid_configuration_is_reported_like_a_finding(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    expected: list[str],
) -> None:
    """With --json the report is JSON, as the program that reads it must not get a line of text."""
    conf = tmp_path / "qemu-ga.conf"
    conf.write_text(f"[general]\n{text}\n")
    monkeypatch.setenv("QGA_CONF", str(conf))
    assert main(["--self-test", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == 2
    assert [(finding["check"], finding["status"]) for finding in said["findings"]] == [
        ("configuration", "problem") for _ in expected
    ]
    for finding, words in zip(said["findings"], expected, strict=True):
        assert words in finding["what"]
    assert main(["--self-test"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["problem  configuration" for _ in expected]


def test_names_and_users_that_are_not_known_are_problems_of_the_configuration(host: Host) -> None:
    given = subject(host, block_rpcs=("guest-exce",), socket_users=("no-such-user",))
    assert found_by(configuration.configuration, given)[1:] == [
        (
            "problem",
            "block-rpcs: 'guest-exce' is not a command (did you mean 'guest-exec'?), '-b help' lists them",
        ),
        ("problem", "socket-users: there is no user 'no-such-user'"),
    ]


@pytest.mark.forks
def test_on_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A self-test of this machine, which it leaves unchanged."""
    monkeypatch.setenv("QGA_CONF", "/dev/null")
    status = main(["--self-test", "--json", "-t", str(tmp_path), "-m", "unix-listen", "-p", str(tmp_path / "sock")])
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == status
    assert {f["check"] for f in said["findings"]} >= {"versions", "port", "freezing"}
    assert list(tmp_path.iterdir()) == []
