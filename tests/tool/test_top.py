"""qga top: counters to rates, and the command on a terminal and off it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.client import Client
from qga.testing import FakeGuest
from qga.tool.commands.sampling import Sample, rates, sample
from tests.client_agents import AGENTS, listening
from tests.tool.test_tool import TOOL, qga

pytestmark = pytest.mark.forks


def taken(at: float, **counters: dict[str, dict[str, int]]) -> Sample:
    return Sample(at, None, *(counters.get(name, {}) for name in ("processors", "disks", "interfaces")))


def test_rates_are_what_grew_in_the_time_between() -> None:
    old = taken(10, processors={"cpu0": {"user": 100, "idle": 100, "iowait": 0}}, disks={"vda": {"read": 1000}})
    new = taken(12, processors={"cpu0": {"user": 400, "idle": 150, "iowait": 50}}, disks={"vda": {"read": 5000}})
    found = rates(old, new)
    assert found.processors == {"cpu0": 0.75}
    assert found.disks == {"vda": {"read": 2000}}


def test_what_comes_goes_or_begins_anew() -> None:
    old = taken(0, interfaces={"eth0": {"sent": 900}, "gone": {"sent": 1}}, processors={"cpu0": {"idle": 5}})
    new = taken(1, interfaces={"eth0": {"sent": 40}, "new": {"sent": 7}}, processors={"cpu0": {"idle": 5}})
    found = rates(old, new)
    assert found.interfaces == {"eth0": {"sent": 40}}
    assert found.processors == {"cpu0": 0.0}


def test_partitions_and_disks_never_used_are_left_out(fake_guest: FakeGuest) -> None:
    def disk(name: str, count: int) -> dict[str, object]:
        return {"name": name, "major": 1, "minor": 1, "stats": {"read-sectors": count, "read-ios": count}}

    names = ("sda", "sda1", "nvme0n1", "nvme0n1p2", "md127", "sr0")
    fake_guest.answer("guest-get-diskstats", [*(disk(name, 2) for name in names), disk("loop3", 0)])
    with Client(fake_guest.address) as client:
        disks = sample(client).disks
    assert disks is not None
    assert list(disks) == ["sda", "nvme0n1", "md127", "sr0"]
    assert disks["sda"]["read"] == 1024


@pytest.fixture(params=AGENTS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with listening(request.param, tmp_path) as path:
        yield path


def test_for_programs_and_as_text(address: str) -> None:
    done = qga(address, "top", "--json", "--count", "2", "--interval", "200ms")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 2
    assert all(0 <= part <= 1 for part in found[1]["processors"].values())
    assert set(found[0]["interfaces"]["lo"]) == {"received", "sent", "packets in", "packets out"}
    assert "busy cpu0" in qga(address, "top", "--count", "1", "--interval", "100ms").stdout
    assert qga(address, "top", "--interval", "0").returncode == 2


@pytest.mark.parametrize("leave", [b"q", b"\x03"])
def test_on_a_terminal(address: str, leave: bytes) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execv(TOOL[0], [*TOOL, "-c", address, "top", "--interval", "200ms"])
    seen, end = b"", time.monotonic() + 20
    while b"interface" not in seen and time.monotonic() < end:
        seen += os.read(terminal, 65536)
    assert b"\x1b[?1049h" in seen, "the other screen"
    os.write(terminal, leave)
    try:
        while piece := os.read(terminal, 65536):
            seen += piece
    except OSError:  # EIO: nobody has it open any more
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (0 if leave == b"q" else 130)
    assert b"\x1b[?1049l" in seen[-200:], "and back"
    os.close(terminal)


def test_a_guest_that_goes_is_one_sentence(address: str, tmp_path: Path, fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-get-cpustats", disconnect=True)
    done = qga(fake_guest.address, "top", "--count", "1", "--interval", "10ms")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "Traceback" not in done.stderr


def test_the_terminal_is_not_needed_for_the_rest(address: str) -> None:
    done = subprocess.run(
        [*TOOL, "-c", address, "top", "--count", "1", "--interval", "10ms"], stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0
