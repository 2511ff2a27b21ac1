"""One descriptor and its sessions on a real loop and real sockets: fairness, and what a peer leaves behind."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qga.agent.channel import Peers, stream
from qga.agent.channel.listener import Listener, listen_unix
from qga.agent.channel.stream import MAX_TURN, Stream
from qga.agent.loop import Loop
from qga.agent.session import Session

PING = b'{"execute":"guest-ping"}\n'
PONG = b'{"return":{}}\n'


@pytest.fixture
def loop(descriptors: None) -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class Channel:
    """A stream on one end of a pair of sockets, its sessions, and whether each was closed."""

    def __init__(self, loop: Loop, new_session: Callable[[], Session], *, persistent: bool) -> None:
        ours, self.host = socket.socketpair()
        ours.setblocking(False)
        self.sessions: list[Session] = []
        self.closed: list[Session] = []
        self.ended: list[str] = []
        self._new_session = new_session
        self.stream = Stream(loop, ours.detach(), self._begin, self.ended.append, persistent=persistent)

    def _begin(self, wake: Callable[[], None]) -> Session:
        session = self._new_session()
        close = session.close

        def closing() -> None:
            self.closed.append(session)
            close()

        session.close = closing  # type: ignore[method-assign]
        self.sessions.append(session)
        return session

    def end(self) -> None:
        self.stream.close()
        self.host.close()


def test_a_host_that_sends_much_does_not_starve_the_loop(loop: Loop, new_session: Callable[[], Session]) -> None:
    channel = Channel(loop, new_session, persistent=False)
    channel.host.sendall(PING * 1000)
    loop.call_later(0, loop.stop)
    loop.run()
    channel.host.setblocking(False)
    first = channel.host.recv(1 << 20)
    assert first == PONG * MAX_TURN
    loop._stopped = False
    loop.call_later(0.1, loop.stop)
    loop.run()
    assert first + channel.host.recv(1 << 20) == PONG * 1000
    channel.end()


def test_the_session_of_a_host_that_has_left_a_port_is_closed(
    loop: Loop, new_session: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ABSENCE", 0.01)
    channel = Channel(loop, new_session, persistent=True)
    channel.host.sendall(b'{"execute":"guest-ping","id":"')
    channel.host.shutdown(socket.SHUT_WR)
    begun = channel._begin

    def begin_and_stop(wake: Callable[[], None]) -> Session:
        loop.stop()
        return begun(wake)

    channel.stream._new_session = begin_and_stop
    loop.run()
    assert len(channel.sessions) == 2
    assert channel.closed == channel.sessions[:1]
    assert channel.ended == []
    channel.end()
    assert channel.closed == channel.sessions


@pytest.mark.parametrize("persistent", [True, False])
def test_a_fault_in_a_session_ends_it_and_not_the_agent(
    loop: Loop,
    new_session: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    persistent: bool,
) -> None:
    monkeypatch.setattr("qga.agent.loop.FAULT_PAUSE", 0.01)
    channel = Channel(loop, new_session, persistent=persistent)
    monkeypatch.setattr(channel.sessions[0], "receive", lambda data: 1 / 0)
    channel.host.sendall(PING)
    loop.call_later(0.05, loop.stop)
    with caplog.at_level(logging.ERROR):
        loop.run()
    assert caplog.messages == ["internal error: ZeroDivisionError: division by zero"]
    assert channel.closed == channel.sessions[:1]
    if persistent:  # the next request is answered
        channel.host.sendall(PING)
        loop._stopped = False
        loop.call_later(0.05, loop.stop)
        loop.run()
        assert channel.host.recv(1 << 20) == PONG
    else:
        assert channel.ended == ["internal error"]
    channel.end()


def test_a_client_that_left_before_it_was_checked_makes_room(
    loop: Loop, new_session: Callable[[], Session], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """getpeername(2) of a vsock socket without a peer fails with ENOTCONN, here on a real socket."""

    class Record:
        peer: object = None

    peers, queried = Peers((), Record()), []

    def admits(connection: socket.socket) -> bool:
        queried.append(connection)
        if len(queried) > 1:
            return True
        with socket.socket(socket.AF_VSOCK) as gone:
            return peers.admits(gone)

    path = str(tmp_path / "socket")
    listener = Listener(loop, listen_unix(path), lambda wake: new_session(), admits)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(path)
        second.connect(path)
        second.sendall(PING)
        loop.call_later(0.05, loop.stop)
        loop.run()
        assert first.recv(100) == b""
        assert second.recv(100) == PONG
    assert caplog.messages == []
    listener.close()


def test_a_client_that_cannot_be_watched_leaves_the_listener_as_it_was(
    loop: Loop, new_session: Callable[[], Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """epoll_ctl(2) has a limit of its own: ENOSPC."""
    monkeypatch.setattr("qga.agent.channel.listener.ACCEPT_PAUSE", 0.01)
    watch = loop.watch
    refused: list[int] = []

    def limited(descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        if not refused and descriptor != listening:
            refused.append(descriptor)
            raise OSError(28, "No space left on device")
        watch(descriptor, events, callback)

    path = str(tmp_path / "socket")
    sock = listen_unix(path)
    listening = sock.fileno()
    listener = Listener(loop, sock, lambda wake: new_session())
    monkeypatch.setattr(loop, "watch", limited)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(path)
        second.connect(path)
        second.sendall(PING)
        loop.call_later(0.2, loop.stop)
        loop.run()
        assert first.recv(100) == b""
        assert second.recv(100) == PONG
    assert len(refused) == 1
    listener.close()
