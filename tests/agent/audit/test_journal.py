"""The audit log in a real journal: every record is there, or is counted in a record that is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qga.agent.audit.journal import JournalSink, Pace, RateLimit, rate_limit
from tests.journald import INSTALLED, Journald, lost, numbers
from tests.lines import Lines
from tests.repository import REPOSITORY
from tests.running import RunningAgent

UNIT = f"qga-test-{os.getpid()}.service"  # tests run beside each other
PING = b'{"execute":"guest-ping"}\n'
STATS = b'{"execute":"guest-get-diskstats"}\n'
needs_journald = pytest.mark.skipif(not INSTALLED, reason="needs root and systemd-journald")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journald]:
    with Journald(tmp_path, UNIT) as journal:
        yield journal


def agent_beside(journal: Journald, directory: Path) -> RunningAgent:
    options = ("-m", "unix-listen", "-p", str(directory / "agent.sock"), "--audit-log", "journal")
    return RunningAgent(directory, *options, prefix=journal.as_unit)


def ask(peer: Lines, request: bytes, times: int = 1) -> None:
    for done in range(0, times, 500):
        count = min(500, times - done)
        peer.send(request * count)
        for _ in range(count):
            peer.read_line(60)


def accounted(pings: int) -> Callable[[list[dict[str, Any]]], bool]:
    """Return whether that many records are in the journal, or counted there as lost."""

    def are(entries: list[dict[str, Any]]) -> bool:
        written = sum(entry.get("QGA_COMMAND") == "guest-ping" for entry in entries)
        return bool(written + lost(entries).get("guest-ping", 0) == pings)

    return are


@pytest.mark.forks
@needs_journald
def test_a_flood_of_pings_to_a_slow_journald_does_not_hide_a_command(tmp_path: Path, journal: Journald) -> None:
    """journald is stopped while they arrive, as if it were writing to a slow disk."""
    journal.limit(1_000_000, 1)
    with agent_beside(journal, tmp_path) as agent, Lines.connect(tmp_path / "agent.sock") as peer:
        ask(peer, PING, 3000)
        journal.process.send_signal(signal.SIGSTOP)
        ask(peer, PING, 3000)
        ask(peer, STATS)
        ask(peer, PING, 3000)
        journal.process.send_signal(signal.SIGCONT)
        journal.wait_for(accounted(9000))  # without a further request
        assert agent.terminate() == 0
    entries = journal.entries(SYSLOG_IDENTIFIER="qemu-ga")
    assert len(journal.entries(QGA_COMMAND="guest-get-diskstats")) == 1
    assert lost(entries).keys() == {"guest-ping"}
    seen = numbers(entries)
    assert seen[-1] == len(seen) + sum(lost(entries).values())  # each that is missing is counted
    assert agent.log.read_text().count("are counted") == 1


@pytest.mark.forks
@needs_journald
def test_records_beyond_the_rate_limit_of_journald_are_counted_and_not_sent(
    tmp_path: Path, journal: Journald
) -> None:
    journal.limit(2000, 30)
    with agent_beside(journal, tmp_path) as agent, Lines.connect(tmp_path / "agent.sock") as peer:
        ask(peer, PING, 8000)
        ask(peer, STATS)
        ask(peer, PING, 4000)
        assert agent.terminate() == 0
    entries = journal.entries(_SYSTEMD_UNIT=UNIT)
    assert len(entries) <= 2000
    assert journal.suppressed() == []
    written = {name: len(journal.entries(QGA_COMMAND=name)) for name in ("guest-ping", "guest-get-diskstats")}
    missing = lost(entries)
    assert written["guest-ping"] + missing["guest-ping"] == 12_000
    assert written["guest-get-diskstats"] + missing.get("guest-get-diskstats", 0) == 1
    seen = numbers(entries)
    assert seen[-1] == len(seen) + sum(missing.values())


@pytest.mark.slow
@pytest.mark.forks
@needs_journald
def test_with_the_limits_of_the_unit_nothing_is_lost(tmp_path: Path, journal: Journald) -> None:
    unit = (REPOSITORY / "qemu-ga.service").read_text()
    settings = dict(line.split("=", 1) for line in unit.splitlines() if line.startswith("LogRateLimit"))
    journal.limit(int(settings["LogRateLimitBurst"]), int(settings["LogRateLimitIntervalSec"]))
    with agent_beside(journal, tmp_path) as agent, Lines.connect(tmp_path / "agent.sock") as peer:
        for _ in range(200):
            ask(peer, PING, 100)
        ask(peer, STATS)
        journal.wait_for(accounted(20_000))  # some may be lost, where the machine is too busy for journald
        assert agent.terminate() == 0
    assert journal.suppressed() == []
    assert len(journal.entries(QGA_COMMAND="guest-get-diskstats")) == 1


@pytest.mark.forks
@needs_journald
def test_a_datagram_that_is_too_large_is_cut(journal: Journald, tmp_path: Path) -> None:
    """With net.core.wmem_default at its minimum, the mandatory fields of a record still arrive."""
    path = f"/proc/{journal.process.pid}/root/run/systemd/journal/socket"
    sink = JournalSink(path)
    sink.open()
    assert sink._socket is not None
    sink._socket.setsockopt(1, 7, 1)  # SOL_SOCKET, SO_SNDBUF
    arguments = {"path": "x" * 30_000}
    sink.write({"time": 1.0, "event": "command", "command": "guest-file-open", "arguments": arguments, "error": "y"})
    (entry,) = journal.entries(QGA_COMMAND="guest-file-open")
    assert (entry["QGA_CUT"], entry["QGA_ERROR"]) == ("1", "y")
    assert "QGA_ARGUMENTS" not in entry
    sink.close()


def test_the_rate_stays_below_the_limit_in_every_interval() -> None:
    """A sender that never pauses stays within the limit in every interval, wherever the interval begins."""
    now = [0.0]
    limit = RateLimit(1000, 30.0)
    pace = Pace(limit, lambda: now[0])
    sent: list[float] = []
    for _ in range(20_000):
        if not pace.take():
            sent.append(now[0])
        now[0] += 0.01
    assert len(sent) > 200 / 30 * 300 * 0.9
    for begin in sent:
        assert sum(begin <= at < begin + limit.interval for at in sent) <= 900
    assert pace.take() >= 1.0
    pace.hurry()
    assert sum(not pace.take() for _ in range(1000)) == 100


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("0::/system.slice/qemu-ga.service\n", RateLimit(7, 2.0)),
        ("9:name=systemd:/system.slice/qemu-ga.service/sub\n1:cpu:/\n", RateLimit(7, 2.0)),
        ("0::/system.slice/other.service\n", RateLimit()),
        ("0::/\n", RateLimit()),
        (None, RateLimit()),
    ],
)
def test_the_limit_of_a_unit(tmp_path: Path, groups: str | None, expected: RateLimit) -> None:
    (tmp_path / "log-rate-limit-burst:qemu-ga.service").symlink_to("7")
    (tmp_path / "log-rate-limit-interval:qemu-ga.service").symlink_to("2000000")
    if groups is not None:
        (tmp_path / "cgroup").write_text(groups)
    assert rate_limit(str(tmp_path), str(tmp_path / "cgroup")) == expected
