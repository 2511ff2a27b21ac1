"""Which service udev starts with the agent's port, by rules as they are found in guests."""

from __future__ import annotations

import os

import pytest

from qga.agent.linux.host import Host
from qga.agent.linux.udevrules import Start, starts
from tests.conftest import write
from tests.repository import REPOSITORY

PORT = "org.qemu.guest_agent.0"
OURS = (REPOSITORY / "qemu-ga.rules").read_text()
PLUGGED = f'SUBSYSTEM=="virtio-ports", ATTR{{name}}=="{PORT}", '
DEBIAN = f'{PLUGGED}\\\n  TAG+="systemd", ENV{{SYSTEMD_WANTS}}="qemu-guest-agent.service"\n'
FEDORA = f'{PLUGGED}TAG+="systemd" ENV{{SYSTEMD_WANTS}}="qemu-guest-agent.service"\n'
LINE_OF_OURS = 1 + next(n for n, line in enumerate(OURS.splitlines()) if line.startswith("SUBSYSTEM"))


def services(host: Host) -> list[str]:
    return [start.service for start in starts(host, PORT)]


def test_no_rules(host: Host) -> None:
    assert starts(host, PORT) == []


@pytest.mark.parametrize("theirs", [DEBIAN, FEDORA])
def test_the_file_that_sorts_last_decides(host: Host, theirs: str) -> None:
    write(host, "/lib/udev/rules.d/60-qemu-guest-agent.rules", theirs)
    assert starts(host, PORT) == [
        Start("qemu-guest-agent.service", "/lib/udev/rules.d/60-qemu-guest-agent.rules, line 1")
    ]
    write(host, "/etc/udev/rules.d/60-qemu-ga.rules", OURS)
    assert services(host) == ["qemu-guest-agent.service"]
    os.rename(host.path("/etc/udev/rules.d/60-qemu-ga.rules"), host.path("/etc/udev/rules.d/61-qemu-ga.rules"))
    assert starts(host, PORT) == [
        Start("qemu-ga.service", f"/etc/udev/rules.d/61-qemu-ga.rules, line {LINE_OF_OURS}")
    ]


def test_a_file_hides_those_of_its_name(host: Host) -> None:
    write(host, "/lib/udev/rules.d/60-qemu-guest-agent.rules", DEBIAN)
    os.makedirs(host.path("/etc/udev/rules.d"))
    os.symlink("/dev/null", host.path("/etc/udev/rules.d/60-qemu-guest-agent.rules"))
    assert starts(host, PORT) == []


RULES = [
    ('ENV{SYSTEMD_WANTS}="a.service b.service"', ["a.service", "b.service"]),
    ('ENV{SYSTEMD_WANTS}="a.service"\nENV{SYSTEMD_WANTS}+="b.service"', ["a.service", "b.service"]),
    ('ENV{SYSTEMD_WANTS}+="a.service"\nENV{SYSTEMD_WANTS}:="b.service"', ["b.service"]),
    ('ACTION=="remove", ENV{SYSTEMD_WANTS}="a.service"', []),
    ('ACTION!="remove", KERNEL=="vport[0-9]*|x", ENV{SYSTEMD_WANTS}="a.service"', ["a.service"]),
    ('ATTR{name}=="com.redhat.spice.0", ENV{SYSTEMD_WANTS}="a.service"', []),
    ('ENV{OTHER}=="1", ENV{SYSTEMD_WANTS}="a.service"', []),
    (
        'SUBSYSTEM!="tty", GOTO="end"\nENV{SYSTEMD_WANTS}="a.service"\nLABEL="end"\nENV{SYSTEMD_WANTS}+="b.service"',
        ["b.service"],
    ),
    ('# ENV{SYSTEMD_WANTS}="a.service"', []),
    ('SUBSYSTEM=="virtio-ports", \\\n# a comment within\n  ENV{SYSTEMD_WANTS}="a.service"', ["a.service"]),
]


@pytest.mark.parametrize(("text", "expected"), RULES)
def test_rules(host: Host, text: str, expected: list[str]) -> None:
    write(host, "/etc/udev/rules.d/70-test.rules", text + "\n")
    assert services(host) == expected
