"""The fast decoder and the dialect give the same messages, and replies are lines of ASCII."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qga.protocol import dialect, wire
from qga.protocol.dialect import Dialect
from qga.protocol.errors import RequestError
from qga.protocol.wire import LONG, Decoder, encode

SYNC = b'{"execute":"guest-sync-delimited","arguments":{"id":99}}'


def shown(message: object) -> object:
    """Return the value in a form that compares equal only if the types are equal too: 1, 1.0 and True differ."""
    return ("error", str(message)) if isinstance(message, RequestError) else json.dumps(message)


def fast(*pieces: bytes) -> list[object]:
    decoder = Decoder()
    return [shown(message) for piece in pieces for message in decoder.feed(piece)]


def slow(*pieces: bytes) -> list[object]:
    lexer = Dialect()
    return [shown(message) for piece in pieces for message in lexer.feed(piece)]


WHOLE = [b'{"execute":"guest-ping"}', b'{"a":1,"a":2}', b'{"id":"a:b"}', b'{"a":[1,{"b":-1}]}', SYNC]
TOKENS = [b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"\\", b"\\u0041", b"\n", b"\r\n", b" "]
VALUES = [b"0e1", b"-0", b"1.5", b"12", b"true", b"nul", b"x", b"1e400", b"99999999999999999999"]
BYTES = [b"\xff", b"\xfe", b"\xc0\x80", b"\xc3\xa9", b"\x01"]
fragments = st.lists(st.sampled_from([*WHOLE, *TOKENS, *VALUES, *BYTES]) | st.binary(max_size=6), max_size=14).map(
    b"".join
)
cuts = st.lists(st.integers(0, 200), max_size=5)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(position, len(data)) for position in at), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@pytest.mark.slow
@given(fragments, cuts)
@example(b'{"execute":"a"}{"execute":"b"}\n', [15])
@example(b'{"a":0e1}\n', [])
@example(b'{"id":1e400}\n', [])
@example(b"12\n", [1])
@example(b'{"id":"\xef\xbf\xbf"}\n', [])
@example(b'{"id":"\\uffff"}\n', [])
@settings(max_examples=600)
def test_decoder_and_dialect_agree_however_the_input_is_split(data: bytes, at: list[int]) -> None:
    assert fast(*cut(data, at)) == slow(data)


@pytest.mark.slow
@given(fragments, cuts)
@settings(max_examples=300)
def test_always_back_in_step_after_ff(data: bytes, at: list[int]) -> None:
    assert fast(*cut(data, at), b"\xff" + SYNC)[-1] == shown(json.loads(SYNC))


@pytest.mark.slow
@given(fragments, cuts)
@settings(max_examples=600)
def test_deferred_or_not(data: bytes, at: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "LONG", 1)
        assert fast(*cut(data, at), b"\n") == slow(data + b"\n")


@pytest.mark.slow
@given(st.binary(max_size=300), cuts)
@settings(max_examples=300)
def test_no_bytes_raise(data: bytes, at: list[int]) -> None:
    assert fast(*cut(data, at)) == slow(data)


def test_lazy() -> None:
    messages = Decoder().feed(b'{"a":1}\n{"b":2}\nxyz\n')
    assert next(messages) == {"a": 1}
    assert next(messages) == {"b": 2}
    assert isinstance(next(messages), RequestError)


@pytest.mark.parametrize(
    ("tail", "ends"), [(b'"}}', "brace"), (b'"}}\n', "newline"), (b'"}} ', "blank"), (b'"}}{"a":1}', "more")]
)
def test_payload_in_pieces(tail: bytes, ends: str) -> None:
    pieces = [b'{"execute":"x","arguments":{"b":"', b"QUFB" * LONG, b"QUFB" * LONG, tail]
    assert fast(*pieces) == slow(b"".join(pieces))
    assert len(fast(b"".join(pieces))) == (2 if ends == "more" else 1)
    whole = [pieces[0] + pieces[1], pieces[2], tail]
    assert fast(*whole) == slow(b"".join(pieces))


def test_reset_in_the_middle_of_a_payload() -> None:
    pieces = [b'{"b":"' + b"A" * LONG, b"A" * LONG, b"\xff" + SYNC]
    assert fast(*pieces) == slow(b"".join(pieces))
    assert fast(*pieces)[-1] == shown(json.loads(SYNC))


@pytest.mark.parametrize("end", [b'"]', b'"]}', b"\xfe", b"\xff", b'"]  ', b"\n"])
def test_a_byte_that_can_end_a_payload_is_acted_on_at_once(end: bytes) -> None:
    pieces = [b'["' + b"A" * LONG, b"A" * LONG, end]
    assert fast(*pieces[:2]) == []
    assert fast(*pieces) == slow(*pieces) != []


def test_payload_beyond_the_limit() -> None:
    piece = b"A" * (1 << 20)
    messages = fast(b'{"b":"' + piece, *[piece] * 64)
    assert messages[0] == ("error", "JSON token size limit exceeded")


def test_payload_just_below_the_limit() -> None:
    text = b"A" * (dialect.MAX_SIZE - 200)
    assert len(fast(b'{"b":"' + text + b'"}\n')[0]) > len(text)  # type: ignore[arg-type]


def test_a_byte_costs_the_same_however_long_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: a deferred piece is scanned once and joined once."""
    decoder = Decoder()
    joined: list[int] = []
    original = decoder._join

    def counting(data: bytes) -> bytes:
        joined.append(len(data))
        return original(data)

    monkeypatch.setattr(decoder, "_join", counting)
    piece = b"QUFB" * 1024
    for _ in range(500):
        assert list(decoder.feed((b'{"b":"' if not joined and not decoder._deferred else b"") + piece)) == []
    assert len(list(decoder.feed(b'"}\n'))) == 1
    assert sum(joined) == 499 * len(piece) + 3


@pytest.mark.parametrize("text", [b'{"a":' * 1024 + b"1" + b"}" * 1024 + b"\n", b"[" * 1025 + b"]" * 1025 + b"\n"])
def test_nesting(text: bytes) -> None:
    assert fast(text) == slow(text)


@pytest.mark.parametrize("part", [b"1", b'"x"', b"{}", b"[[]]", b'{"a":[]}', b'{"a":{},"b":[1,2]}'])
def test_tokens(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "MAX_TOKENS", 40)
    monkeypatch.setattr(wire, "MAX_TOKENS", 40)
    for count in range(1, 25):
        line = b"[" + b",".join([part] * count) + b"]\n"
        assert fast(line) == slow(line)
        line = b"{" + b",".join(b'"%d":%b' % (number, part) for number in range(count)) + b"}\n"
        assert fast(line) == slow(line)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"return": {}}, b'{"return":{}}\n'),
        ({"return": "é\U0001f600"}, b'{"return":"\\u00e9\\ud83d\\ude00"}\n'),
        ({"return": "a\udcffb"}, b'{"return":"a\\ufffdb"}\n'),
        ({"return": "\udce2\udc82|\udc80\udc80|é"}, b'{"return":"\\ufffd|\\ufffd\\ufffd|\\u00e9"}\n'),
        ({"return": "\ud800"}, b'{"return":"\\ufffd"}\n'),
        ({"return": {"é": [], "b": {}, "\udcff": None}}, b'{"return":{"\\u00e9":[],"b":{},"\\ufffd":null}}\n'),
        ({"return": 2**64 - 1}, b'{"return":18446744073709551615}\n'),
        ({"return": [1.5, float("inf")]}, b'{"return":[1.5,null]}\n'),
        ({"return": "a\0\x7f\n"}, b'{"return":"a\\u0000\x7f\\n"}\n'),
        ({"return": [2**70, float("nan"), "é"]}, b'{"return":[1180591620717411303424,null,"\\u00e9"]}\n'),
    ],
)
def test_encode(value: object, line: bytes) -> None:
    assert encode(value) == line
    assert encode(value, delimited=True) == b"\xff" + line


def test_reply_may_nest_as_deep_as_a_request() -> None:
    deep: object = "é"
    for _ in range(dialect.MAX_DEPTH):
        deep = [deep]
    assert json.loads(encode({"return": {}, "id": deep})) == {"return": {}, "id": deep}


@pytest.mark.parametrize("inmost", ["é", 1, float("inf"), "\udcff"])
def test_an_id_as_deep_as_a_request_can_be(inmost: object) -> None:
    value = inmost
    for _ in range(dialect.MAX_DEPTH - 1):
        value = [value]
    line = encode({"return": {}, "id": value})
    assert line.count(b"[") == line.count(b"]") == dialect.MAX_DEPTH - 1


@given(st.recursive(st.text() | st.integers() | st.floats() | st.none(), st.lists))
def test_reply_is_one_line_of_ascii(value: object) -> None:
    line = encode({"return": value})
    assert line.isascii()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    json.loads(line)
