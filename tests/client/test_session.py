"""The client's session, by bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.client.errors import ClientError, CommandFailed, CommandNotFound, OutOfStep
from qga.client.session import AHEAD, MAX_NOISE, Reply, Session


def sync_of(data: bytes) -> tuple[int, int]:
    """The request's number and id."""
    assert data[:1] == b"\xff"
    body = json.loads(data[1:])
    assert body["execute"] == "guest-sync-delimited"
    return body["id"], body["arguments"]["id"]


def synchronised() -> Session:
    session = Session()
    number, sync = sync_of(session.synchronise())
    assert session.receive(b'\xff{"return": %d, "id": %d}\n' % (sync, number)) == [Reply(number, sync)]
    return session


def send(session: Session, command: str, *, silent: bool = False) -> int:
    """The number of a request that has been sent at once."""
    number = session.request(command, {}, silent=silent)
    assert len(list(session.outgoing())) == 1
    return number


def values(replies: list[Reply]) -> list[Any]:
    return [reply.value for reply in replies]


def test_what_comes_before_the_sync_is_dropped() -> None:
    session = Session()
    number, sync = sync_of(session.synchronise())
    noise = b'{"return": 7}\nlogin: \xff{"return": 1}\n{"return": %d}\n\xff\xff' % sync
    assert session.receive(noise) == []
    assert not session.synchronised
    assert session.receive(b'{"return": %d}\n' % sync) == [Reply(number, sync)]
    assert session.synchronised


def test_an_earlier_sync_does_not_count() -> None:
    session = Session()
    _, first = sync_of(session.synchronise())
    _, second = sync_of(session.synchronise())
    assert session.receive(b'\xff{"return": %d}\n' % first) == []
    assert session.receive(b'\xff{"return": %d}\n' % second)[0].value == second


def test_noise_is_not_kept() -> None:
    session = Session()
    session.synchronise()
    for _ in range(40):
        session.receive(b"x" * (MAX_NOISE // 8))
    assert session._size <= 2 * MAX_NOISE


def test_an_echo_is_told() -> None:
    session = Session()
    session.receive(session.synchronise())
    assert session.echoed
    assert not session.synchronised


def test_an_agent_that_blocks_the_sync_is_heard() -> None:
    session = Session()
    number, _ = sync_of(session.synchronise())
    line = b'{"id": %d, "error": {"class": "CommandNotFound", "desc": "Command x has been disabled"}}\n' % number
    (reply,) = session.receive(line)
    assert isinstance(reply.error, CommandNotFound)


def test_stale_replies_reach_nobody() -> None:
    session = synchronised()
    first = send(session, "guest-ping")
    session.abandon(first)
    second = send(session, "guest-ping")
    stale = b'{"return": 99, "id": 12345}\n{"return": 98, "id": "x"}\n'
    replies = session.receive(stale + b'{"return": 1, "id": %d}\n{"return": 2, "id": %d}\n' % (first, second))
    assert replies == [Reply(second, 2)]


def test_an_agent_without_ids_answers_in_order() -> None:
    session = synchronised()
    numbers = [send(session, "guest-ping") for _ in range(3)]
    replies = session.receive(b'{"return": 0}\n{"return": 1}\n{"return": 2}\n')
    assert replies == [Reply(number, at) for at, number in enumerate(numbers)]


def test_silence_of_a_shutdown_is_told_by_the_next_reply() -> None:
    session = synchronised()
    quiet = send(session, "guest-shutdown", silent=True)
    ping = send(session, "guest-ping")
    assert session.receive(b'{"return": {}, "id": %d}\n' % ping) == [Reply(quiet, None), Reply(ping, {})]


def test_an_answer_that_was_left_out_is_an_error() -> None:
    session = synchronised()
    first = send(session, "guest-info")
    second = send(session, "guest-ping")
    lost, got = session.receive(b'{"return": {}, "id": %d}\n' % second)
    assert (lost.number, got) == (first, Reply(second, {}))
    assert str(lost.error) == "the agent left out its answer to guest-info"


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"1\n", b'{"return": 1\n', b'{"return": 1}\n', b"\xff\n"])
def test_garbage_is_out_of_step(line: bytes) -> None:
    with pytest.raises(OutOfStep):
        synchronised().receive(line)


def test_events_and_blank_lines_are_ignored() -> None:
    assert synchronised().receive(b'\n \r\n{"event": "X"}\n{"QMP": {}}\n') == []


def test_errors_say_what_they_are() -> None:
    session = synchronised()
    for kind, desc, expected, sentence in (
        ("GenericError", "no", CommandFailed, "guest-x: no"),
        ("CommandNotFound", "The command guest-x has not been found", CommandNotFound, "does not have this command"),
        ("CommandNotFound", "Command guest-x has been disabled", CommandNotFound, "does not allow it now"),
        ("CommandDisabled", "The command guest-x has been disabled", CommandNotFound, "does not allow it now"),
    ):
        number = send(session, "guest-x")
        error = {"class": kind, "desc": desc}
        (reply,) = session.receive(json.dumps({"error": error, "id": number}).encode() + b"\n")
        assert type(reply.error) is expected
        assert reply.error.desc == desc
        assert sentence in str(reply.error)


def test_what_json_cannot_hold_is_refused_before_it_is_sent() -> None:
    session = synchronised()
    with pytest.raises(ClientError, match="guest-x: its arguments cannot be sent"):
        session.request("guest-x", {"a": object()})
    number = send(session, "guest-ping")
    assert session.receive(b'{"return": {}, "id": %d}\n' % number) == [Reply(number, {})]


def test_a_write_is_as_any_request() -> None:
    session = synchronised()
    number = session.write(1000, b"QUJD")
    (data,) = session.outgoing()
    expected = {"execute": "guest-file-write", "id": number, "arguments": {"handle": 1000, "buf-b64": "QUJD"}}
    assert data.endswith(b"\n")
    assert json.loads(data) == expected


class TestAhead:
    """What may be under way together."""

    def test_as_much_as_an_agent_reads_at_once(self) -> None:
        session = synchronised()
        numbers = [session.request("guest-ping", {}) for _ in range(200)]
        sent = list(session.outgoing())
        assert AHEAD - 50 < len(b"".join(sent)) <= AHEAD
        session.receive(b'{"return": {}, "id": %d}\n' % numbers[0])
        assert len(list(session.outgoing())) == 1

    def test_a_large_request_goes_alone(self) -> None:
        session = synchronised()
        ping = send(session, "guest-ping")
        large = session.request("guest-exec", {"input-data": "x" * AHEAD})
        behind = session.request("guest-ping", {})
        assert list(session.outgoing()) == []
        assert session.command(large) == "guest-exec"
        session.receive(b'{"return": {}, "id": %d}\n' % ping)
        assert len(list(session.outgoing())) == 1
        session.receive(b'{"return": {}, "id": %d}\n' % large)
        (last,) = session.outgoing()
        assert json.loads(last)["id"] == behind

    def test_writes_follow_each_other_and_miss_their_answers(self) -> None:
        session = synchronised()
        numbers = [session.write(1000, b"QUJD" * AHEAD) for _ in range(8)]
        assert len(list(session.outgoing())) == 8
        session.request("guest-ping", {})
        assert list(session.outgoing()) == []
        replies = session.receive(b'{"return": {"count": 1, "eof": false}, "id": %d}\n' % numbers[6])
        assert replies == [
            *(Reply(number, None) for number in numbers[:6]),
            Reply(numbers[6], {"count": 1, "eof": False}),
        ]
        assert list(session.outgoing()) == []
        session.receive(b'{"return": {"count": 1, "eof": false}, "id": %d}\n' % numbers[7])
        assert len(list(session.outgoing())) == 1

    def test_what_is_given_up_before_it_is_sent_is_never_sent(self) -> None:
        session = synchronised()
        ping = send(session, "guest-ping")
        session.abandon(session.request("guest-exec", {"input-data": "x" * AHEAD}))
        session.receive(b'{"return": {}, "id": %d}\n' % ping)
        assert list(session.outgoing()) == []

    def test_what_is_given_up_holds_nothing_up(self) -> None:
        """Its answer may never come: the agent was started anew."""
        session = synchronised()
        session.write(1000, b"x" * AHEAD)
        hung = session.request("guest-exec", {"input-data": "x" * AHEAD})
        list(session.outgoing())
        session.receive(b'{"return": {"count": 1, "eof": false}, "id": %d}\n' % (hung - 1))
        assert len(list(session.outgoing())) == 1
        session.abandon(hung)
        large = session.request("guest-exec", {"input-data": "x" * AHEAD})
        assert len(list(session.outgoing())) == 1
        behind = session.request("guest-ping", {})
        assert list(session.outgoing()) == []
        assert session.receive(b'{"return": {"pid": 1}, "id": %d}\n' % large) == [Reply(large, {"pid": 1})]
        assert len(list(session.outgoing())) == 1
        assert session.receive(b'{"return": 2, "id": %d}\n' % behind) == [Reply(behind, 2)]


@given(st.lists(st.integers(0, 400), max_size=30), st.lists(st.binary(max_size=20), max_size=4))
def test_replies_are_the_same_however_they_are_cut(cuts: list[int], noise: list[bytes]) -> None:
    session = Session()
    number, sync = sync_of(session.synchronise())
    numbers = [send(session, f"guest-{at}") for at in range(4)]
    stream = b"\n".join(noise) + b'\n\xff{"return": %d, "id": %d}\n' % (sync, number)
    for at in numbers:
        stream += b'{"return": "%s", "id": %d}\n' % (b"x" * at, at)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    replies = [reply for start, end in pairwise(places) for reply in session.receive(stream[start:end])]
    assert values(replies) == [sync, *("x" * at for at in numbers)]
