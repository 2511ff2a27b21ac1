"""A few seconds of ``make soak``."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.__main__ import soak
from tests.soak.peer import Broken, Peer
from tests.soak.report import Report


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[socket.socket]:
    """A listening socket in place of an agent."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agent.sock"))
        listening.listen()
        yield listening


@pytest.mark.parametrize(
    ("replies", "lost", "doubled"),
    [
        (b'{"return":{},"id":1}\n{"return":{},"id":2}\n', 0, 0),
        (b'{"return":{},"id":1}\n{"return":{},"id":1}\n', 0, 1),
        (b'{"return":{},"id":2}\n', 1, 0),
        (b'{"return":{},"id":1}\n', 1, 0),
        (b'{"return":{}}\n', 0, 1),
        (b'{"return":{},"id":77}\n', 0, 1),
        (b'{"return":{},"id":1}\n{"return":{},"id":2}\n{"return":{},"id":2}\n', 0, 1),
    ],
)
def test_lost_or_doubled_replies_are_noticed(agent: socket.socket, replies: bytes, lost: int, doubled: int) -> None:
    report = Report(0)
    peer = Peer(agent.getsockname(), report)
    connection, _ = agent.accept()
    with connection:
        peer.lines.send(peer.spell("guest-ping", {}) + peer.spell("guest-ping", {}))
        connection.sendall(replies)
    try:
        peer.receive_all()
        peer.quiet()
    except Broken:
        assert lost or doubled
    peer.close()
    assert (report.lost, report.doubled) == (lost, doubled)


@pytest.mark.slow
@pytest.mark.forks
def test_no_reply_is_lost_or_doubled_and_nothing_is_left(tmp_path: Path) -> None:
    report = soak(5, 20, tmp_path)
    print(report)
    assert list(report.failures()) == []
    assert report.requests == report.replies + report.abandoned
