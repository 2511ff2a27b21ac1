"""Properties that hold on the host for any answer of an agent: the guest is not trusted."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import math
from collections.abc import Mapping
from typing import Any

from qga.client.commands import Commands
from qga.client.connection import AHEAD
from qga.client.reading import checked, parsed
from qga.protocol import schema
from qga.tool import output
from qga.tool.commands import sampling, status
from tests.client.recorded import RecordedConnection, synchronised, write
from tests.fuzz.choices import Choices

_SCHEMA = schema.load()
_RETURNING = [command for command in _SCHEMA.commands.values() if command.returns is not None]

_LARGE = {"input-data": "x" * AHEAD}
_PIECES = [
    *(b"\n", b"\xff", b"\0", b"login: ", b"{\n", b"[]\n", b'{"return":{},', b'"id":4}'),
    *(b'{"return":{}}\n', b'{"return":1,"id":null}\n', b'{"return":{},"id":999}\n', b'{"event":"x"}\n'),
    *(b'{"error":{}}\n', b'{"error":{"desc":7,"class":[]},"id":3}\n', b'{"error":null,"id":2}\n'),
    b'{"execute":"guest-sync-delimited"}\n',
]


def replies(data: bytes) -> None:
    """Each request gets at most one reply, an abandoned one gets none, and in the end nothing is pending."""
    choices = Choices(data)
    connection = synchronised()
    answered: set[int] = set()
    submitted: list[int] = []
    sent: list[int] = []
    given_up: set[int] = set()
    for _ in range(len(data) // 2):
        match choices.below(6):
            case 0:
                submitted.append(connection.submit("guest-ping", {}, silent=choices.rarely()))
            case 1:
                submitted.append(connection.submit("guest-exec", _LARGE))
            case 2:
                submitted.append(write(connection, 1000, b"QUJD" * AHEAD))
            case 3 if submitted:
                number = choices.pick(submitted)
                connection.withdraw(number)
                given_up.add(number)
            case 4 if sent:
                _deliver(connection, b'{"return":{},"id":%d}\n' % choices.pick(sent), answered, given_up)
            case 5:
                _deliver(connection, choices.pick(_PIECES), answered, given_up)
        sent += [json.loads(request)["id"] for request in connection.outgoing()]
    _deliver(connection, b"\n", answered, given_up)
    while set(submitted) - set(sent) - given_up:
        _deliver(connection, b'{"return":{},"id":%d}\n' % sent[-1], answered, given_up)
        more = [json.loads(request)["id"] for request in connection.outgoing()]
        assert more, "what is under way has ended, and what waits does not go"
        sent += more
    assert sent == sorted(sent)


def _deliver(connection: RecordedConnection, data: bytes, answered: set[int], given_up: set[int]) -> None:
    for reply in connection.replies(data):
        assert reply.ticket not in answered | given_up
        answered.add(reply.ticket)


class _Answered(Commands):
    """A client whose agent returns one value for every command."""

    def __init__(self, value: object) -> None:
        self._value = value

    def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        return checked(command, self._value)


def shapes(data: bytes) -> None:
    """A value is either refused with MalformedReply, or usable by everything that takes such values."""
    choices = Choices(data)
    command = choices.pick(_RETURNING)
    assert command.returns is not None
    value = parsed(json.dumps(_sendable(choices.value(_SCHEMA.type(command.returns)))).encode())
    method = getattr(_Answered(value), command.function)
    method(**{one: [] for one, about in inspect.signature(method).parameters.items() if about.default is about.empty})
    client = _Answered(value)
    match command.name:
        case "guest-get-fsinfo":
            status.disks(client.guest_get_fsinfo())
        case "guest-network-get-interfaces":
            status.interfaces(client.guest_network_get_interfaces())
            _count(interfaces=sampling.interface_counters(client.guest_network_get_interfaces()))
        case "guest-get-cpustats":
            _count(processors=sampling.processor_counters(client.guest_get_cpustats()))
        case "guest-get-diskstats":
            _count(disks=sampling.disk_counters(client.guest_get_diskstats()))


def _count(
    processors: sampling.Counters | None = None,
    disks: sampling.Counters | None = None,
    interfaces: sampling.Counters | None = None,
) -> None:
    """Make rates of the same counters twice, as ``qga top`` does."""
    first, second = (sampling.Sample(at, None, processors, disks, interfaces) for at in (0.0, 1.0))
    sampling.rates(first, second)


def printed(data: bytes) -> None:
    """Text from a guest is shown safely, as JSON and as plain text."""
    text = data.decode(errors="replace")
    for shown in (_shown({text: [text]}), output.clean(text, "\n")):
        assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert json.loads(_shown({text: [text]})) == {text: [text]}


def _shown(value: object) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        output.json(value)
    return out.getvalue()


def _sendable(value: Any) -> Any:
    """Remove what JSON cannot carry to a client, which another target covers."""
    if isinstance(value, dict):
        return {_sendable(name): _sendable(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_sendable(item) for item in value]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(value) if type(value) is int and not -(2**63) <= value < 2**64 else value
