"""Name, operating system, time zone and users, from literal files."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qga.agent.commands import system
from qga.agent.linux.host import Host
from qga.agent.linux.osrelease import parse_os_release
from qga.agent.linux.users import Login, parse_session, parse_utmp
from qga.agent.policy import Policy
from qga.protocol.schema import Schema
from tests.conftest import write
from tests.contexts import context

Execute = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=debian", "debian"),
        ('NAME="Debian GNU/Linux"', "Debian GNU/Linux"),
        ("NAME='Foo Bar'", "Foo Bar"),
        (r'NAME="a \"b\" \\ \$x \`y\` \n"', r'a "b" \ $x `y` \n'),
        (r"NAME='a\b'", r"a\b"),
        (r"NAME=a\ b", "a b"),
        ("NAME='it'\\''s'", "it's"),
        ("NAME=", ""),
        ('NAME=""', ""),
        ("NAME=two words", "two"),
        ("NAME=a;b", "a"),
        ('NAME="Foo', "Foo"),
        ("NAME='Foo", "Foo"),
        ('NAME="Foo\\', "Foo"),
        ("  NAME = spaced  ", "spaced"),
        ("NAME=first\nNAME=last", "last"),
        ("#NAME=no\nNAME=ü", "ü"),
        ("nonsense\n=\n[x]\nNAME=kept", "kept"),
    ],
)
def test_os_release_values(line: str, value: str) -> None:
    assert parse_os_release(line) == {"NAME": value}


def test_osinfo(host: Host, execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QGA_OS_RELEASE", raising=False)
    kernel = os.uname()
    of_kernel = {"kernel-release": kernel.release, "kernel-version": kernel.version, "machine": kernel.machine}
    assert execute("guest-get-osinfo") == {"return": of_kernel}
    write(host, "/usr/lib/os-release", "ID=fallback\n")
    assert execute("guest-get-osinfo")["return"]["id"] == "fallback"
    text = "PRETTY_NAME='X 1'\nNAME=X\nVERSION_ID=1\nVERSION='1 (one)'\nVARIANT=V\nVARIANT_ID=v\nID=x\nLOGO=l\n"
    write(host, "/etc/os-release", text)
    of_release = {
        "id": "x",
        "name": "X",
        "pretty-name": "X 1",
        "version": "1 (one)",
        "version-id": "1",
        "variant": "V",
        "variant-id": "v",
    }
    assert execute("guest-get-osinfo") == {"return": of_kernel | of_release}
    monkeypatch.setenv("QGA_OS_RELEASE", "/opt/release")
    assert execute("guest-get-osinfo") == {"return": of_kernel}
    Path(host.path("/opt")).mkdir()
    Path(host.path("/opt/release")).write_bytes(b"NAME=\xff\n")
    assert execute("guest-get-osinfo")["return"]["name"] == "\ufffd"


def test_host_name_of_64_characters(host: Host) -> None:
    class Long(Host):
        def uname(self) -> os.uname_result:
            return os.uname_result(("Linux", "x" * 64, "r", "v", "m"))

    ctx = context(Long(host.run, host.which, host.root), Schema({}), Policy())
    assert system.guest_get_host_name(ctx) == {"host-name": "x" * 64}


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC0", {"zone": "UTC", "offset": 0}),
        ("XYZ-5:30", {"zone": "XYZ", "offset": 19800}),
        ("<-03>3", {"zone": "-03", "offset": -10800}),
    ],
)
def test_timezone(execute: Execute, monkeypatch: pytest.MonkeyPatch, zone: str, expected: dict[str, object]) -> None:
    monkeypatch.setenv("TZ", zone)
    assert execute("guest-get-timezone") == {"return": expected}


def utmp(kind: int, user: bytes, seconds: int, micros: int, wide: bool = False) -> bytes:
    layout = "=h2xi32s4s32s256s2h" + ("qqq16s20x4x" if wide else "iii16s20x")
    return struct.pack(layout, kind, 42, b"tty1", b"1", user, b"host", 0, 0, 7, seconds, micros, b"")


NARROW = ("x86_64", "i686", "ppc64le", "ppc64", "riscv64", "mips64", "sparc64", "armv7l", "m68k")
WIDE = ("aarch64", "alpha", "ia64", "loongarch64", "s390x")


@pytest.mark.parametrize("machine", [*NARROW, *WIDE])
def test_utmp_records(machine: str) -> None:
    wide = machine in WIDE
    records = [
        utmp(2, b"reboot", 1, 0, wide),
        utmp(7, b"ann", 1700000000, 250000, wide),
        utmp(8, b"gone", 2, 0, wide),
    ]
    assert [len(record) for record in records] == [400 if wide else 384] * 3
    assert parse_utmp(b"".join(records) + b"torn", machine) == [Login("ann", 1700000000.25)]


@pytest.mark.parametrize(("machine", "wide"), [("x86_64", True), ("riscv64", True), ("s390x", False)])
def test_utmp_records_of_another_libc(machine: str, wide: bool) -> None:
    """As musl writes them, or another architecture; the layout is recognised from the content."""
    for count in (1, 2, 23, 24, 25, 48):  # of 24 the size fits both
        data = utmp(2, b"reboot", 1, 0, wide) + utmp(7, b"ann", 1700000000, 250000, wide) * count
        assert parse_utmp(data, machine) == [Login("ann", 1700000000.25)] * count


def test_users_each_once_with_the_earliest_login(
    host: Host, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    Path(host.path("/var/run")).mkdir(parents=True)
    records = utmp(7, b"bob", 300, 0) + utmp(7, b"ann", 100, 0) + utmp(7, b"bob", 200, 500000)
    Path(host.path("/var/run/utmp")).write_bytes(records)
    assert execute("guest-get-users") == {
        "return": [{"user": "bob", "login-time": 200.5}, {"user": "ann", "login-time": 100.0}]
    }


SESSION = (
    "# This is private data. Do not parse.\nUID=1000\nUSER=ann\nACTIVE=1\nSTATE=active\nCLASS=user\nREALTIME={}\n"
)


def test_users_of_logind_where_utmp_is_gone(host: Host, execute: Execute) -> None:
    assert execute("guest-get-users") == {"return": []}
    write(host, "/run/systemd/sessions/2", SESSION.format(2_500_000))
    write(host, "/run/systemd/sessions/10", SESSION.format(1_000_000))
    write(host, "/run/systemd/sessions/c1", SESSION.format(3_000_000).replace("ann", "root"))
    write(host, "/run/systemd/sessions/4", SESSION.format(1).replace("CLASS=user", "CLASS=greeter"))
    os.mkfifo(Path(host.path("/run/systemd/sessions/2.ref")))
    assert execute("guest-get-users") == {
        "return": [{"user": "ann", "login-time": 1.0}, {"user": "root", "login-time": 3.0}]
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        SESSION.format("soon"),
        SESSION.format("9" * 400),
        SESSION.format(1).replace("CLASS=user", "CLASS=manager"),
        SESSION.format(1).replace("CLASS=user", "CLASS=background"),
        SESSION.format(1).replace("active\n", "closing\n"),
    ],
)
def test_sessions_that_are_not_logins(text: str) -> None:
    assert parse_session(text) is None


def test_early_user_session_is_a_login() -> None:
    assert parse_session(SESSION.format(1).replace("CLASS=user", "CLASS=user-early")) == Login("ann", 1e-06)
