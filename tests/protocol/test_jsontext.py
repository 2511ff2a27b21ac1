"""The standard library reads and writes JSON as orjson does, whose place it takes where that is not installed."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.protocol import base64, jsontext

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SPOILT = [
    *(b"", b" ", b"[1,]", b'{"a":1,}', b"{a:1}", b"'a'", b"01", b"1.", b".5", b"+1", b"-", b"1e", b"nul", b"[1 2]"),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"9" * 400, b"9" * 5000, b"1 2", b"\xef\xbb\xbf1"),
    *(
        b'"\\ud800"',
        b'"\\udc00x"',
        b'"\\ud800\\u0041"',
        b'{"\\ud800":1}',
        b'"\\x41"',
        b'"a\nb"',
        b'"\x00"',
        b'"\xff"',
    ),
    *(b"[" * 1025 + b"]" * 1025, b'{"a":' * 1025 + b"1" + b"}" * 1025, b"[" * 100_000, b"1\x00", b"\x0b1"),
]
TAKEN = [
    *(
        b"18446744073709551615",
        b"18446744073709551616",
        b"-9223372036854775808",
        b"-9223372036854775809",
        b"-0",
        b"0e1",
    ),
    *(b'"\\ud83d\\ude00"', b'"\\\\ud800"', b'"\x7f"', b" \t\r\n1\n", b'{"a":1,"a":2}', b"5e-324", b"1e-400"),
    *(b"[" * 1000 + b"]" * 1000, b"[" + b"[]," * 5000 + b"[]]"),
]


@given(VALUES)
def test_what_one_writes_the_other_reads(value: object) -> None:
    text = json.dumps(value).encode()
    try:
        expected = orjson.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011  any is enough for the caller
            jsontext._loads(text)
    else:
        assert repr(jsontext._loads(text)) == repr(expected)


@pytest.mark.parametrize("text", SPOILT)
def test_refused(text: bytes) -> None:
    for loads in (orjson.loads, jsontext._loads):
        with pytest.raises(ValueError):  # noqa: PT011
            loads(text)


@pytest.mark.parametrize("text", TAKEN)
def test_taken(text: bytes) -> None:
    assert repr(jsontext._loads(text)) == repr(orjson.loads(text))


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()))
def test_the_same_bytes_are_written(value: dict[str, object]) -> None:
    assert jsontext._dumps(value) == orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


@pytest.mark.parametrize("value", [{"a": "\ud800"}, {"a": b""}, {"a": object()}])
def test_what_cannot_be_written(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        jsontext._dumps(value)


@given(st.binary())
def test_base64(data: bytes) -> None:
    text = base64._encode(data)
    assert text == base64.encode(data)
    assert base64._decode(text) == data
    assert base64._decode_leniently(text) == data


@pytest.mark.parametrize(
    "text", ["A", "AB", "ABC", "ABCDE", "A===", "AA=A", "=AAA", "AAAA=", "AAAA====", "AA\nAA", "\xe9AAA", "AB-_"]
)
def test_what_is_not_strict_is_left_to_the_lenient_decoder(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        base64._decode(text)
