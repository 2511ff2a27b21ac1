"""A real agent that is carrying out a slow command: it answers, ends, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lines import Lines
from tests.running import RunningAgent
from tests.until import until

pytestmark = [pytest.mark.forks, pytest.mark.slow]

TRIM = b'{"execute":"guest-fstrim"}\n'
PING = b'{"execute":"guest-ping"}\n'
PONG: dict[str, object] = {"return": {}}
SOON = 10.0  # seconds that anything may take before it counts as hung
AT_ONCE = 0.05  # seconds for a sync and a ping; the best of some tries, for this may be a busy machine


@pytest.fixture
def agent(tmp_path: Path, path: str) -> Iterator[RunningAgent]:
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path, module="tests.slow") as running:
        yield running
        kill(running.children())


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)


def begin(agent: RunningAgent, peer: Lines) -> None:
    before = len(agent.children())
    peer.send(TRIM)
    until(lambda: len(agent.children()) != before)


def synced(peer: Lines, number: int) -> None:
    peer.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n' % number)
    peer.read_until(b"\xff", SOON)
    assert json.loads(peer.read_line(SOON)) == {"return": number}


def test_sync_and_ping_are_answered_at_once_beside_ten_minutes_of_trimming(agent: RunningAgent, path: str) -> None:
    took = []
    with Lines.connect(path) as peer:
        for number in range(5):
            begin(agent, peer)
            before = time.monotonic()
            synced(peer, number)
            peer.send(PING)
            assert json.loads(peer.read_line(SOON)) == PONG
            took.append(time.monotonic() - before)
        assert peer.read_available(0.2) == b"", "the late replies are dropped"
    assert min(took) < AT_ONCE
    assert len(agent.children()) == 5


def test_ping_waits_for_its_turn(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        begin(agent, peer)
        peer.send(PING)
        assert peer.read_available(0.3) == b""
        assert agent.wake_ups_in(1.5) <= 1


def test_worker_that_dies_becomes_an_error_reply(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        begin(agent, peer)
        kill(agent.children())
        said = "the process that carried it out ended without a result"
        assert json.loads(peer.read_line(SOON)) == {"error": {"class": "GenericError", "desc": said}}
        peer.send(PING)
        assert json.loads(peer.read_line(SOON)) == PONG


def test_client_that_leaves_makes_room_for_the_next(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        begin(agent, peer)
    with Lines.connect(path) as peer:
        peer.send(PING)
        assert json.loads(peer.read_line(SOON)) == PONG
        kill(agent.children())
        assert peer.read_available(0.3) == b"", "its reply is nobody's"
    with Lines.connect(path) as peer:
        synced(peer, 1)


def test_half_close_waits_for_the_reply_that_is_due(agent: RunningAgent, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(TRIM + PING)
        sock.shutdown(socket.SHUT_WR)
        until(agent.children)
        agent.settle()
        kill(agent.children())
        with sock.makefile("rb") as replies:
            failed, pong = [json.loads(line) for line in replies]
        assert "ended without a result" in failed["error"]["desc"]
        assert pong == PONG


def test_client_that_floods_during_a_slow_command_is_not_read(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        begin(agent, peer)
        resident = agent.resident()
        with pytest.raises(TimeoutError):  # noqa: PT012
            while True:
                peer.send(b"{} " * 100_000, timeout=1)
        assert agent.resident() - resident < 64 << 20
        kill(agent.children())
        assert "ended without a result" in json.loads(peer.read_line(SOON))["error"]["desc"]


def test_sigterm_ends_the_agent_at_once(agent: RunningAgent, path: str) -> None:
    """The work continues: it may be the shutdown that ends the agent."""
    with Lines.connect(path) as peer:
        begin(agent, peer)
        left = agent.children()
        assert agent.terminate(timeout=5) == 0
        kill(left)


@pytest.mark.parametrize("hostile", [b"\xff" * 262144, b"[]" * 196608], ids=["flushes", "lists"])
def test_requests_sent_during_a_slow_command_take_no_memory(agent: RunningAgent, path: str, hostile: bytes) -> None:
    """It once took 80 and 110 MB: an error for every byte or two."""
    with Lines.connect(path) as peer:
        begin(agent, peer)
        before = agent.resident()
        with contextlib.suppress(TimeoutError):  # the agent need not read all of it
            peer.send(hostile, timeout=1)
        assert agent.wake_ups_in(0.5) < 5
        grown = agent.resident() - before
        assert grown < 8 << 20
        print(f"{grown / 1e6:.1f} MB more")
