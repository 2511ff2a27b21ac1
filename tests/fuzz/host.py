"""What holds at the host for whatever an agent answers: the guest is not trusted."""

from __future__ import annotations

import orjson

from qga.client.session import AHEAD, Session
from tests.fuzz.choices import Choices

_LARGE = {"input-data": "x" * AHEAD}
_PIECES = [
    *(b"\n", b"\xff", b"\0", b"login: ", b"{\n", b"[]\n", b'{"return":{},', b'"id":4}'),
    *(b'{"return":{}}\n', b'{"return":1,"id":null}\n', b'{"return":{},"id":999}\n', b'{"event":"x"}\n'),
    *(b'{"error":{}}\n', b'{"error":{"desc":7,"class":[]},"id":3}\n', b'{"error":null,"id":2}\n'),
    b'{"execute":"guest-sync-delimited"}\n',
]


def replies(data: bytes) -> None:
    """Each request is told of once at most, none that was given up, and in the end nothing is held back."""
    choices = Choices(data)
    session = Session()
    sync = orjson.loads(session.synchronise()[1:])
    told = {reply.number for reply in session.receive(b'\xff{"return":%d}\n' % sync["arguments"]["id"])}
    asked: list[int] = []
    sent: list[int] = []
    given_up: set[int] = set()
    for _ in range(len(data) // 2):
        match choices.below(6):
            case 0:
                asked.append(session.request("guest-ping", {}, silent=choices.rarely()))
            case 1:
                asked.append(session.request("guest-exec", _LARGE))
            case 2:
                asked.append(session.write(1000, b"QUJD" * AHEAD))
            case 3 if asked:
                number = choices.pick(asked)
                session.abandon(number)
                given_up.add(number)
            case 4 if sent:
                _tell(session, b'{"return":{},"id":%d}\n' % choices.pick(sent), told, given_up)
            case 5:
                _tell(session, choices.pick(_PIECES), told, given_up)
        sent += [orjson.loads(request)["id"] for request in session.outgoing()]
    _tell(session, b"\n", told, given_up)
    while set(asked) - set(sent) - given_up:
        _tell(session, b'{"return":{},"id":%d}\n' % sent[-1], told, given_up)
        more = [orjson.loads(request)["id"] for request in session.outgoing()]
        assert more, "what is under way has ended, and what waits does not go"
        sent += more
    assert sent == sorted(sent)


def _tell(session: Session, data: bytes, told: set[int], given_up: set[int]) -> None:
    for reply in session.receive(data):
        assert reply.number not in told | given_up
        told.add(reply.number)
