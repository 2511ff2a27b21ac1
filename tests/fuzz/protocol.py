"""What holds for any bytes from a peer: nothing raises, they have one meaning, and 0xFF always resynchronises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from jsonschema import Draft4Validator

from qga.agent.audit import Audit
from qga.agent.audit.filesink import FileSink
from qga.agent.binding import bind
from qga.agent.call import Call
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host, Outcome
from qga.agent.policy import Policy
from qga.agent.session import Session
from qga.protocol import dialect, schema, tokens, wire
from qga.protocol.dialect import Dialect
from qga.protocol.errors import RequestError
from qga.protocol.validate import Validator
from qga.protocol.wire import Decoder
from tests.contexts import context, still_loop
from tests.fuzz.choices import Choices

SYNC = b'{"execute":"guest-sync-delimited","arguments":{"id":99}}'
SCHEMA = schema.load()

_COMPLAINT = re.compile(
    r"Parameter '[^']+' (is missing|is unexpected|expects uint64|does not accept value '.*')"
    r"|Parameter '(x|id|Handle|cpu\0|)' is unexpected"
    r"|Invalid parameter type for '[^']+', expected: (array|boolean|integer|number|object|string|[A-Z]\w+)",
    re.DOTALL,
)
_SETTINGS = 1  # byte: which bounds are made small
_SIZES = 3  # bytes: how the rest is cut


def framing(data: bytes) -> None:
    """The fast decoder and the dialect give the same messages, however the bytes are split."""
    pieces, stream = _cut(data)
    with _bounds(data[:_SETTINGS]):
        told = _messages(Dialect(), [stream])
        assert _messages(Dialect(), pieces) == told
        if len(stream) < wire.LONG:
            assert _messages(Decoder(), pieces) == told
        ended = _messages(Dialect(), [stream + b"\n"])
        assert _messages(Decoder(), [*pieces, b"\n"]) == ended
        assert _messages(Decoder(), [*pieces, b"\xff" + SYNC])[-1] == _shown(json.loads(SYNC))


def meaning(data: bytes) -> None:
    """Standard JSON has the same meaning in the dialect, or is an error."""
    try:
        text = data.decode()
        expected = json.loads(text, parse_int=lambda digits: tokens.number(digits.encode()))
    except (ValueError, RecursionError):
        return
    for kind in (Decoder, Dialect):
        messages = list(kind().feed(data + b"\n"))
        if not any(isinstance(message, RequestError) for message in messages):
            assert [_shown(message) for message in messages] == [_shown(expected)]


def conversation(data: bytes) -> None:
    """Every reply is one line of ASCII, and none of them speaks of an internal error."""
    pieces, stream = _cut(data)
    session = Session(_dispatcher())
    replies = [reply for piece in pieces for reply in _replies(session, piece)]
    assert len(replies) <= len(_messages(Dialect(), [stream]))
    for reply in replies:
        line = reply.removeprefix(b"\xff")
        assert line.isascii()
        assert line.index(b"\n") == len(line) - 1
        body = json.loads(line)
        assert body.keys() - {"id"} in ({"return"}, {"error"})
        assert "internal error" not in body.get("error", {}).get("desc", "")
    assert _replies(session, b"\xff" + SYNC)[-1] == b'\xff{"return":99}\n'


def _replies(session: Session, data: bytes) -> list[bytes]:
    session.receive(data)
    return list(iter(session.next_reply, None))


def arguments(data: bytes) -> None:
    """The validator that decides and the one that explains agree, and what they explain is in QAPI's words."""
    choices = Choices(data)
    name = choices.pick(list(SCHEMA.commands))
    command = SCHEMA.commands[name]
    given = choices.value(command.arguments)
    refusal = None
    try:
        _validator(name)(given)
    except RequestError as error:
        refusal = str(error)
    assert Draft4Validator(command.arguments).is_valid(given) == (refusal is None), (name, given, refusal)
    if isinstance(given, dict):  # what is none is refused before
        assert refusal is None or _COMPLAINT.fullmatch(refusal), (name, given, refusal)


@cache
def _validator(name: str) -> Validator:
    return SCHEMA.commands[name].validator()


@cache
def _dispatcher() -> Dispatcher:
    """An agent whose commands do nothing, except those that change nothing anyway."""

    def nothing(ctx: Context, **arguments: object) -> None:
        pass

    async def slowly_nothing(ctx: Context, **arguments: object) -> None:
        pass

    handlers = bind(SCHEMA)
    for name, command in SCHEMA.commands.items():
        if command.area != "session":
            handlers[name] = slowly_nothing if command.slow else nothing
    host = Host(run=lambda *_, **__: Outcome(errno=2), which=lambda _: None, root="/nonexistent")
    return Dispatcher(
        context(host, SCHEMA, Policy()), handlers, _LoudAudit(still_loop(), FileSink("/dev/null"), "fuzz")
    )


class Unrecorded(BaseException):
    """An audit record could not be made. The dispatcher survives this; here it is a finding."""


class _LoudAudit(Audit):
    def end(self, call: Call, error: Exception | None) -> None:
        try:
            super().end(call, error)
        except Exception as bug:
            raise Unrecorded from bug


def _cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the bytes split as the first of them determine, and as a whole."""
    sizes = [size + 1 for size in data[_SETTINGS : _SETTINGS + _SIZES]] or [1]
    stream = data[_SETTINGS + _SIZES :]
    pieces: list[bytes] = []
    at = 0
    while at < len(stream):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(stream[at : at + size])
        at += size
    return pieces, stream


@contextmanager
def _bounds(settings: bytes) -> Iterator[None]:
    """Small ones, so that a short input meets them."""
    small: list[tuple[object, str, int]] = []
    if settings and settings[0] & 1:
        small += [(wire, "LONG", 1)]
    if settings and settings[0] & 2:
        small += [(module, "MAX_TOKENS", 20) for module in (wire, dialect)]
    if settings and settings[0] & 4:
        small += [(module, "MAX_SIZE", 100) for module in (wire, dialect)]
    usual = [(module, name, getattr(module, name)) for module, name, _ in small]
    for module, name, value in small:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in usual:
            setattr(module, name, value)


def _messages(decoder: Decoder | Dialect, pieces: list[bytes]) -> list[object]:
    return [_shown(message) for piece in pieces for message in decoder.feed(piece)]


def _shown(message: object) -> object:
    """Return the value in a form that compares equal only if the types are equal too: 1, 1.0 and True differ."""
    return ("error", str(message)) if isinstance(message, RequestError) else json.dumps(message)
