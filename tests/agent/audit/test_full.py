"""The audit log on a full real filesystem: no partial line stays, and every loss is recorded."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lines import Lines
from tests.running import RunningAgent

pytestmark = [
    pytest.mark.forks,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
]
SIZE = 64 * 1024  # of the filesystem, in its agent's mount namespace only


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., RunningAgent]:
    """Agents whose audit log is on a small tmpfs; the second joins the namespace of the first."""
    (tmp_path / "logs").mkdir()
    options = ("-m", "unix-listen", "-p", str(tmp_path / "sock"), "--audit-log", str(tmp_path / "logs" / "audit.log"))
    mount = f'mount --make-rprivate / && mount -t tmpfs -o size={SIZE} tmpfs {tmp_path}/logs && exec "$@"'

    def start(beside: int | None = None) -> RunningAgent:
        prefix = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        if beside is not None:
            prefix = ["nsenter", "-t", str(beside), "--mount"]
        directory = tmp_path / ("second" if beside else "first")
        directory.mkdir()
        return RunningAgent(directory, *options, prefix=prefix)

    return start


def ping(peer: Lines) -> None:
    peer.send(b'{"execute":"guest-ping"}\n')
    assert peer.read_line(20) == b'{"return":{}}'


def records(log: Path) -> list[dict[str, Any]]:
    """Return the records of the log, each line of which must be complete at any time."""
    data = log.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def fill_up(path: Path) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_filesystem(tmp_path: Path, start: Callable[..., RunningAgent]) -> None:
    with start() as agent, Lines.connect(tmp_path / "sock") as peer:
        log = Path(f"/proc/{agent.process.pid}/root{tmp_path}/logs/audit.log")
        fill = log.with_name("fill")
        for room in (0, 1, 100, 4096 - 1):
            ping(peer)
            fill.write_bytes(b"x" * (SIZE // 4096 - 2) * 4096)  # the last page but one is the log's
            while log.stat().st_size % 4096 < 4096 - 400 - room % 200:
                ping(peer)
            fill_up(fill)
            before = len(records(log))
            for _ in range(20):
                ping(peer)
            seen = records(log)
            assert before <= len(seen) < before + 20
            fill.unlink()
            ping(peer)
            assert len(records(log)) == before + 21
            log.write_bytes(b"")  # as copytruncate of logrotate(8) does
        assert agent.terminate() == 0
        assert "cannot be written: No space left on device" in agent.log.read_text()


def test_a_partial_line_of_a_killed_agent_is_ended(tmp_path: Path, start: Callable[..., RunningAgent]) -> None:
    with start() as first, Lines.connect(tmp_path / "sock") as peer:
        log = Path(f"/proc/{first.process.pid}/root{tmp_path}/logs/audit.log")
        ping(peer)
        whole = log.read_bytes()
        log.write_bytes(whole + b'{"time":"2026-')  # what a crash of the machine leaves
        holder = os.open(f"/proc/{first.process.pid}/ns/mnt", os.O_RDONLY)
        with start(beside=first.process.pid) as second:
            log = Path(f"/proc/{second.process.pid}/root{tmp_path}/logs/audit.log")
            lines = log.read_bytes().splitlines()
        os.close(holder)
    assert b"\n".join(lines[:2]) + b"\n" == whole
    assert lines[2] == b'{"time":"2026-'
    assert json.loads(lines[3])["event"] == "start"
