"""The client's session and its connection, by bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.client.connection import AHEAD
from qga.client.errors import AgentUnreachable, ClientError, CommandFailed, CommandNotFound, OutOfStep
from qga.client.session import MAX_NOISE
from tests.client.recorded import RecordedConnection, Reply, begun, send, synchronised, write


def values(replies: list[Reply]) -> list[Any]:
    return [reply.value for reply in replies]


def test_what_comes_before_the_sync_is_dropped() -> None:
    connection = RecordedConnection()
    number, sync = begun(connection)
    noise = b'{"return": 7}\nlogin: \xff{"return": 1}\n{"return": %d}\n\xff\xff' % sync
    assert connection.replies(noise) == []
    assert not connection._session.synchronised
    assert connection.replies(b'{"return": %d}\n' % sync) == [Reply(number, sync)]
    assert connection._session.synchronised


def test_an_earlier_sync_does_not_count() -> None:
    connection = RecordedConnection()
    before, first = begun(connection)
    connection.withdraw(before)
    _, second = begun(connection)
    assert connection.replies(b'\xff{"return": %d}\n' % first) == []
    assert connection.replies(b'\xff{"return": %d}\n' % second)[0].value == second


def test_noise_is_not_kept() -> None:
    connection = RecordedConnection()
    connection.synchronise()
    for _ in range(40):
        connection.replies(b"x" * (MAX_NOISE // 8))
    assert connection._session._size <= 2 * MAX_NOISE


def test_an_echo_is_recognised() -> None:
    connection = RecordedConnection()
    connection.synchronise()
    connection.replies(b"".join(connection.outgoing()))
    assert connection._session.echoed
    assert not connection._session.synchronised


def test_an_agent_that_blocks_the_sync_is_heard() -> None:
    connection = RecordedConnection()
    number, _ = begun(connection)
    line = b'{"id": %d, "error": {"class": "CommandNotFound", "desc": "Command x has been disabled"}}\n' % number
    (reply,) = connection.replies(line)
    assert isinstance(reply.error, CommandNotFound)


def test_stale_replies_reach_nobody() -> None:
    connection = synchronised()
    first = send(connection, "guest-ping")
    connection.withdraw(first)
    second = send(connection, "guest-ping")
    stale = b'{"return": 99, "id": 12345}\n{"return": 98, "id": "x"}\n'
    replies = connection.replies(stale + b'{"return": 1, "id": %d}\n{"return": 2, "id": %d}\n' % (first, second))
    assert replies == [Reply(second, 2)]


def test_an_agent_without_ids_answers_in_order() -> None:
    connection = synchronised()
    numbers = [send(connection, "guest-ping") for _ in range(3)]
    replies = connection.replies(b'{"return": 0}\n{"return": 1}\n{"return": 2}\n')
    assert replies == [Reply(number, at) for at, number in enumerate(numbers)]


def test_a_silent_shutdown_ends_with_the_next_reply() -> None:
    connection = synchronised()
    quiet = send(connection, "guest-shutdown", silent=True)
    ping = send(connection, "guest-ping")
    assert connection.replies(b'{"return": {}, "id": %d}\n' % ping) == [Reply(quiet, None), Reply(ping, {})]


def test_an_answer_that_was_left_out_is_an_error() -> None:
    connection = synchronised()
    first = send(connection, "guest-info")
    second = send(connection, "guest-ping")
    lost, got = connection.replies(b'{"return": {}, "id": %d}\n' % second)
    assert (lost.ticket, got) == (first, Reply(second, {}))
    assert str(lost.error) == "the agent left out its answer to guest-info"


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"1\n", b'{"return": 1\n', b'{"return": 1}\n', b"\xff\n"])
def test_garbage_is_out_of_step(line: bytes) -> None:
    with pytest.raises(OutOfStep):
        synchronised().replies(line)


def test_events_and_blank_lines_are_ignored() -> None:
    assert synchronised().replies(b'\n \r\n{"event": "X"}\n{"QMP": {}}\n') == []


def test_errors_say_what_they_are() -> None:
    connection = synchronised()
    for kind, desc, expected, sentence in (
        ("GenericError", "no", CommandFailed, "guest-x: no"),
        ("CommandNotFound", "The command guest-x has not been found", CommandNotFound, "does not have this command"),
        ("CommandNotFound", "Command guest-x has been disabled", CommandNotFound, "does not allow it now"),
        ("CommandDisabled", "The command guest-x has been disabled", CommandNotFound, "does not allow it now"),
    ):
        number = send(connection, "guest-x")
        error = {"class": kind, "desc": desc}
        (reply,) = connection.replies(json.dumps({"error": error, "id": number}).encode() + b"\n")
        assert type(reply.error) is expected
        assert reply.error.desc == desc
        assert sentence in str(reply.error)


def test_what_json_cannot_hold_is_refused_before_it_is_sent() -> None:
    connection = synchronised()
    with pytest.raises(ClientError, match="guest-x: its arguments cannot be sent"):
        connection.submit("guest-x", {"a": object()})
    number = send(connection, "guest-ping")
    assert connection.replies(b'{"return": {}, "id": %d}\n' % number) == [Reply(number, {})]


def test_a_request_that_is_late_is_named_and_dropped() -> None:
    connection = synchronised()
    sent, waiting = send(connection, "guest-info"), connection.submit("guest-exec", {"input-data": "x" * AHEAD})
    for ticket, command in ((waiting, "guest-exec"), (sent, "guest-info")):
        error = connection.late(ticket)
        assert error.command == command
        assert str(error).startswith(f"{command}: the agent did not answer in time")
    assert connection.outgoing() == []
    assert connection.replies(b'{"return": {}, "id": %d}\n' % sent) == []


def test_a_closed_connection_answers_all_and_takes_no_more() -> None:
    connection = synchronised()
    sent, waiting = send(connection, "guest-info"), connection.submit("guest-exec", {"input-data": "x" * AHEAD})
    with pytest.raises(OutOfStep):
        connection.replies(b"nonsense\n")
    for ticket in (sent, waiting):
        with pytest.raises(OutOfStep, match="nonsense"):
            connection.take(ticket)
    with pytest.raises(AgentUnreachable, match="test: the connection is closed"):
        connection.submit("guest-ping", {})


def test_a_write_is_as_any_request() -> None:
    connection = synchronised()
    number = write(connection, 1000, b"QUJD")
    (data,) = connection.outgoing()
    expected = {"execute": "guest-file-write", "id": number, "arguments": {"handle": 1000, "buf-b64": "QUJD"}}
    assert data.endswith(b"\n")
    assert json.loads(data) == expected


class TestAhead:
    """What may be under way together."""

    def test_as_much_as_an_agent_reads_at_once(self) -> None:
        connection = synchronised()
        numbers = [connection.submit("guest-ping", {}) for _ in range(200)]
        sent = connection.outgoing()
        assert AHEAD - 50 < len(b"".join(sent)) <= AHEAD
        connection.replies(b'{"return": {}, "id": %d}\n' % numbers[0])
        assert len(connection.outgoing()) == 1

    def test_a_large_request_goes_alone(self) -> None:
        connection = synchronised()
        ping = send(connection, "guest-ping")
        large = connection.submit("guest-exec", {"input-data": "x" * AHEAD})
        behind = connection.submit("guest-ping", {})
        assert connection.outgoing() == []
        connection.replies(b'{"return": {}, "id": %d}\n' % ping)
        assert len(connection.outgoing()) == 1
        connection.replies(b'{"return": {}, "id": %d}\n' % large)
        (last,) = connection.outgoing()
        assert json.loads(last)["id"] == behind

    def test_writes_follow_each_other_and_miss_their_answers(self) -> None:
        connection = synchronised()
        numbers = [write(connection, 1000, b"QUJD" * AHEAD) for _ in range(8)]
        assert len(connection.outgoing()) == 8
        connection.submit("guest-ping", {})
        assert connection.outgoing() == []
        replies = connection.replies(b'{"return": {"count": 1, "eof": false}, "id": %d}\n' % numbers[6])
        assert replies == [
            *(Reply(number, None) for number in numbers[:6]),
            Reply(numbers[6], {"count": 1, "eof": False}),
        ]
        assert connection.outgoing() == []
        connection.replies(b'{"return": {"count": 1, "eof": false}, "id": %d}\n' % numbers[7])
        assert len(connection.outgoing()) == 1

    def test_what_is_given_up_before_it_is_sent_is_never_sent(self) -> None:
        connection = synchronised()
        ping = send(connection, "guest-ping")
        connection.withdraw(connection.submit("guest-exec", {"input-data": "x" * AHEAD}))
        connection.replies(b'{"return": {}, "id": %d}\n' % ping)
        assert connection.outgoing() == []

    def test_what_is_given_up_holds_nothing_up(self) -> None:
        """Its answer may never come: the agent was started anew."""
        connection = synchronised()
        write(connection, 1000, b"x" * AHEAD)
        hung = connection.submit("guest-exec", {"input-data": "x" * AHEAD})
        connection.outgoing()
        connection.replies(b'{"return": {"count": 1, "eof": false}, "id": %d}\n' % (hung - 1))
        assert len(connection.outgoing()) == 1
        connection.withdraw(hung)
        large = connection.submit("guest-exec", {"input-data": "x" * AHEAD})
        assert len(connection.outgoing()) == 1
        behind = connection.submit("guest-ping", {})
        assert connection.outgoing() == []
        assert connection.replies(b'{"return": {"pid": 1}, "id": %d}\n' % large) == [Reply(large, {"pid": 1})]
        assert len(connection.outgoing()) == 1
        assert connection.replies(b'{"return": 2, "id": %d}\n' % behind) == [Reply(behind, 2)]


@given(st.lists(st.integers(0, 400), max_size=30), st.lists(st.binary(max_size=20), max_size=4))
def test_replies_are_the_same_however_they_are_cut(cuts: list[int], noise: list[bytes]) -> None:
    connection = RecordedConnection()
    number, sync = begun(connection)
    numbers = [send(connection, f"guest-{at}") for at in range(4)]
    stream = b"\n".join(noise) + b'\n\xff{"return": %d, "id": %d}\n' % (sync, number)
    for at in numbers:
        stream += b'{"return": "%s", "id": %d}\n' % (b"x" * at, at)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    replies = [reply for start, end in pairwise(places) for reply in connection.replies(stream[start:end])]
    assert values(replies) == [sync, *("x" * at for at in numbers)]
