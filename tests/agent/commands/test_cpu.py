from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qga.agent.commands import cpu as commands
from qga.agent.context import Context
from qga.agent.linux.cpu import parse_stat
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.protocol.errors import CommandError
from qga.protocol.schema import Schema
from tests.conftest import now, write
from tests.contexts import context

CPUS = "/sys/devices/system/cpu"


@pytest.fixture
def ctx(host: Host) -> Context:
    """Twelve processors: the first cannot be taken offline, the last is."""
    for number in range(12):
        Path(host.path(f"{CPUS}/cpu{number}")).mkdir(parents=True)
        if number:
            write(host, f"{CPUS}/cpu{number}/online", "0\n" if number == 11 else "1\n")
    Path(host.path(f"{CPUS}/cpufreq")).mkdir()
    return context(host, Schema({}), Policy())


def vcpu(number: int, online: bool) -> dict[str, Any]:
    return {"logical-id": number, "online": online}


def test_listed_by_number(ctx: Context) -> None:
    found = commands.guest_get_vcpus(ctx)
    assert [entry["logical-id"] for entry in found] == list(range(12))
    assert found[0] == {"logical-id": 0, "online": True, "can-offline": False}
    assert found[10] == {"logical-id": 10, "online": True, "can-offline": True}
    assert found[11] == {"logical-id": 11, "online": False, "can-offline": True}


def test_no_processors_to_list(host: Host) -> None:
    with pytest.raises(CommandError) as caught:
        commands.guest_get_vcpus(context(host, Schema({}), Policy()))
    assert str(caught.value) == "failed to list entries: /sys/devices/system/cpu: No such file or directory"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_text(""), 'pread("/sys/devices/system/cpu/cpu5//online"): unexpected EOF'),
        (
            lambda file: (file.unlink(), file.mkdir()),
            'pread("/sys/devices/system/cpu/cpu5//online"): Is a directory',
        ),
        (
            lambda file: (file.unlink(), file.parent.rmdir(), file.parent.symlink_to("/no/such")),
            'open("/sys/devices/system/cpu/cpu5/"): No such file or directory',
        ),
    ],
)
def test_processor_that_cannot_be_read(ctx: Context, spoil: Callable[[Path], object], said: str) -> None:
    spoil(Path(ctx.host.path(f"{CPUS}/cpu5/online")))
    for ask in (commands.guest_get_vcpus, lambda ctx: now(commands.guest_set_vcpus(ctx, vcpus=[vcpu(5, False)]))):
        with pytest.raises(CommandError) as caught:
            ask(ctx)
        assert str(caught.value) == said


def test_set_writes_only_what_changes(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(Host, "write", lambda self, path, text: written.append((path, text)))
    wanted = [vcpu(0, True), vcpu(1, True), vcpu(2, False), vcpu(11, True)]
    assert now(commands.guest_set_vcpus(ctx, vcpus=wanted)) == 4
    assert written == [(f"{CPUS}/cpu2/online", "0"), (f"{CPUS}/cpu11/online", "1")]
    assert now(commands.guest_set_vcpus(ctx, vcpus=[])) == 0


def test_set_stops_at_the_first_failure(ctx: Context) -> None:
    assert now(commands.guest_set_vcpus(ctx, vcpus=[vcpu(1, False), vcpu(0, False), vcpu(2, False)])) == 1
    assert ctx.host.read(f"{CPUS}/cpu1/online").startswith("0")
    assert ctx.host.read(f"{CPUS}/cpu2/online").startswith("1")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "logical processor #0 can't be offlined"),
        (99, 'open("/sys/devices/system/cpu/cpu99/"): No such file or directory'),
        (-1, 'open("/sys/devices/system/cpu/cpu-1/"): No such file or directory'),
    ],
)
def test_set_fails_on_the_first(ctx: Context, number: int, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        now(commands.guest_set_vcpus(ctx, vcpus=[vcpu(number, False)]))
    assert str(caught.value) == said


def test_set_of_the_last_processor(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: Host, path: str, text: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Host, "write", busy)
    with pytest.raises(CommandError) as caught:
        now(commands.guest_set_vcpus(ctx, vcpus=[vcpu(3, False)]))
    assert str(caught.value) == 'pwrite("/sys/devices/system/cpu/cpu3//online"): Device or resource busy'


def test_cpustats_in_milliseconds(ctx: Context) -> None:
    write(ctx.host, "/proc/stat", "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n")
    (stats,) = commands.guest_get_cpustats(ctx)
    assert stats["type"] == "linux"
    assert stats["cpu"] == 0
    assert list(stats)[2:] == [
        *("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestnice")
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cpu3 1 2 3 4", {"cpu": 3, "user": 10, "nice": 20, "system": 30, "idle": 40}),
        ("cpu3 1 2 3 4 5 6", {"cpu": 3, "user": 10, "nice": 20, "system": 30, "idle": 40, "iowait": 50}),
        ("cpu3 1 2 3", None),
        ("cpu3 1 2 3 x", None),
        ("cpu3 1 2 3 " + "9" * 5000, None),  # int() refuses it
    ],
)
def test_parse_stat(line: str, found: dict[str, int] | None) -> None:
    assert parse_stat(f"cpu  1 2 3 4\n{line}\n", 100) == ([found] if found else [])


def test_malformed_line_ends_the_list() -> None:
    assert [entry["cpu"] for entry in parse_stat("cpu0 1 1 1 1\ncpu1 ?\ncpu2 1 1 1 1\n", 100)] == [0]


def test_no_proc(host: Host) -> None:
    with pytest.raises(CommandError, match=r'^open\("/proc/stat"\): No such file or directory$'):
        commands.guest_get_cpustats(context(host, Schema({}), Policy()))


def test_load(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "load_average", lambda self: (0.5, 1.25, 2.0))
    assert commands.guest_get_load(ctx) == {"load1m": 0.5, "load5m": 1.25, "load15m": 2.0}
