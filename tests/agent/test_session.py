"""The order of replies beside slow commands, in literal bytes. Handlers wait until the test resolves them."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from qga.agent.binding import bind
from qga.agent.commands import filesystem
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.agent.session import MAX_AHEAD, MAX_MESSAGES, Session
from qga.agent.tasks import Pending
from qga.protocol import schema
from qga.protocol.errors import RequestError
from qga.protocol.wire import Decoder
from tests.contexts import context

SLOW = b'{"execute":"guest-fstrim","id":"slow"}\n'
PING = b'{"execute":"guest-ping","id":"ping"}\n'
SYNC = b'{"execute":"guest-sync","arguments":{"id":7}}\n'
DELIMITED = b'\xff{"execute":"guest-sync-delimited","arguments":{"id":8}}\n'

SLOWED = {"return": {"paths": []}, "id": "slow"}
PONG = {"return": {}, "id": "ping"}
SYNCED = {"return": 7}


class Peer:
    """A session, its output so far, and the slow commands that it has started."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[Pending[dict[str, object]]] = []

        async def trim(ctx: Context, *, minimum: int = 0) -> dict[str, object]:
            self.begun.append(Pending())
            return await self.begun[-1]

        monkeypatch.setattr(filesystem, "guest_fstrim", trim)
        commands = schema.load()
        self.said: list[Any] = []
        self.session = Session(Dispatcher(context(host, commands, Policy()), bind(commands)), self.listen)

    def send(self, data: bytes) -> None:
        self.session.receive(data)
        self.listen()

    def listen(self) -> None:
        for line in iter(self.session.next_reply, None):
            self.said.append(json.loads(line.lstrip(b"\xff")))

    def finish(self, number: int) -> None:
        self.begun[number].resolve({"paths": []})


@pytest.fixture
def peer(host: Host, monkeypatch: pytest.MonkeyPatch) -> Peer:
    return Peer(host, monkeypatch)


def test_replies_keep_the_order_of_the_requests(peer: Peer) -> None:
    peer.send(PING + SLOW + PING)
    peer.send(PING + SLOW)
    assert peer.said == [PONG]
    assert peer.session.waiting
    peer.finish(0)
    assert peer.said == [PONG, SLOWED, PONG, PONG]
    peer.finish(1)
    assert peer.said == [PONG, SLOWED, PONG, PONG, SLOWED]
    assert not peer.session.waiting


def test_sync_that_comes_later_is_answered_and_the_late_reply_dropped(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(SYNC + PING)
    assert peer.said == [SYNCED, PONG]
    peer.finish(0)
    assert peer.said == [SYNCED, PONG]


def test_delimited_sync_too(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(DELIMITED)
    stray, synced = peer.said
    assert "stray" in stray["error"]["desc"]
    assert synced == {"return": 8}


def test_sync_in_the_same_read_is_a_pipeline(peer: Peer) -> None:
    peer.send(SLOW + SYNC)
    assert peer.said == []
    peer.finish(0)
    assert peer.said == [SLOWED, SYNCED]


def test_requests_before_a_sync_are_carried_out_in_order_but_not_awaited(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(PING + SLOW)
    peer.send(PING + SYNC)
    assert peer.said == [PONG, PONG, SYNCED]
    assert len(peer.begun) == 2
    peer.finish(1)
    peer.finish(0)
    assert peer.said == [PONG, PONG, SYNCED]


def test_sync_that_was_answered_gives_up_nothing_that_came_after_it(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(SYNC)
    peer.send(SLOW)
    assert peer.said == [SYNCED]
    peer.finish(1)
    assert peer.said == [SYNCED, SLOWED]


def test_a_partial_sync_is_not_a_sync(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(SYNC[:20])
    assert peer.said == []
    peer.send(SYNC[20:])
    assert peer.said == [SYNCED]


def test_message_that_is_null_is_a_message(peer: Peer) -> None:
    peer.send(b"null\n" + PING)
    assert peer.said[0]["error"]["desc"] == "QMP input must be a JSON object"
    assert peer.said[1:] == [PONG]


LONG = b'{"execute":"guest-ping","id":"%s"}\n' % (b"x" * 2000)


def test_peer_that_goes_on_sending_has_to_wait(peer: Peer) -> None:
    peer.send(SLOW)
    count = 0
    while not peer.session.full:
        peer.send(LONG)
        count += 1
    assert MAX_AHEAD < count * len(LONG) < MAX_AHEAD + 2 * len(LONG)
    peer.finish(0)
    assert [reply["id"] for reply in peer.said] == ["slow"] + ["x" * 2000] * count
    assert not peer.session.full


def test_a_long_request_that_has_to_wait_continues_afterwards(peer: Peer) -> None:
    """An incomplete message is not decoded while it waits, and all bytes taken in count."""
    request = b'{"execute":"guest-ping","id":"' + b"x" * 2 * MAX_AHEAD + b'"}\n'
    pieces = iter([request[at : at + 65536] for at in range(0, len(request), 65536)])
    for _ in range(2):
        peer.said.clear()
        peer.send(SLOW)
        while not peer.session.full:
            peer.send(next(pieces))
        peer.finish(len(peer.begun) - 1)
        assert peer.said == [SLOWED]
        assert not peer.session.full
        for piece in pieces:
            peer.send(piece)
        assert [reply["id"] for reply in peer.said[1:]] == ["x" * 2 * MAX_AHEAD]
        pieces = iter([request[at : at + 65536] for at in range(0, len(request), 65536)])


def test_the_number_of_waiting_messages_is_bounded_and_the_rest_stays_undecoded(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(b"".join(b'{"execute":"guest-sync-id","id":%d}\n' % number for number in range(MAX_MESSAGES)))
    assert peer.session.full
    assert peer.said == []
    peer.finish(0)
    assert peer.said[0] == SLOWED
    assert [reply["id"] for reply in peer.said[1:]] == [*range(MAX_MESSAGES)]
    assert not peer.session.full


def test_a_sync_behind_many_messages_is_answered_in_its_turn(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(PING * MAX_MESSAGES + SYNC)
    assert peer.said == []
    peer.finish(0)
    assert peer.said == [SLOWED, *[PONG] * MAX_MESSAGES, SYNCED]


def test_a_slow_command_among_waiting_messages_makes_the_rest_wait_again(peer: Peer) -> None:
    peer.send(SLOW)
    peer.send(PING * 100 + SLOW + PING * 2 * MAX_MESSAGES)
    peer.finish(0)
    assert peer.said == [SLOWED, *[PONG] * 100]
    assert peer.session.waiting
    assert peer.session.full
    peer.finish(1)
    assert peer.said == [SLOWED, *[PONG] * 100, SLOWED, *[PONG] * 2 * MAX_MESSAGES]


@pytest.mark.parametrize("hostile", [b"\xff" * 262144, b"[]" * 196608, b"x " * 131072, b"{]" * 131072, b'["' * 9])
def test_waiting_messages_take_little_memory(peer: Peer, hostile: bytes) -> None:
    """Every byte or two is an error, which once took 80 and 110 MB; everything taken in is answered in the end."""
    peer.send(SLOW)
    taken = b""
    tracemalloc.start()
    try:
        for at in range(0, len(hostile), 8192):
            if not peer.session.full:
                peer.send(hostile[at : at + 8192])
                taken = hostile[: at + 8192]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1 << 20
    assert peer.said == []
    peer.finish(0)
    assert peer.said[0] == SLOWED
    assert [reply["error"]["desc"] for reply in peer.said[1:]] == [
        str(message) if isinstance(message, RequestError) else "QMP input must be a JSON object"
        for message in Decoder().feed(taken)
    ]


def test_a_peer_that_has_left_causes_no_wake_up_and_leaves_nothing(peer: Peer) -> None:
    woken: list[None] = []
    tracemalloc.start()
    try:
        session = Session(peer.session._dispatcher, lambda: woken.append(None))
        session.receive(SLOW)
        assert session.next_reply() is None
        session.receive(b'{"execute":"guest-ping","id":"' + b"x" * (8 << 20))
        before, _ = tracemalloc.get_traced_memory()
        session.close()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert before > 8 << 20
    assert after < 1 << 20
    peer.finish(0)
    assert woken == []
    assert session.next_reply() is None
