"""The JSON dialect, byte for byte: what it accepts, its error texts, and where it resumes after an error."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qga.protocol import dialect
from qga.protocol.dialect import MAX_DEPTH, MAX_SIZE, MAX_TOKENS, Dialect
from qga.protocol.errors import RequestError
from tests.repository import REPOSITORY

PARSE = "JSON parse error, "
VALUE = "JSON parse error, expecting value"
FF = "JSON parse error, stray '\ufffd'"
SYNC = b'{"execute":"guest-sync-delimited","arguments":{"id":99}}'
GOLDEN: list[dict[str, Any]] = json.loads((REPOSITORY / "tests" / "golden" / "wire.json").read_text())


def feed(*pieces: bytes) -> list[object]:
    """Return the messages: errors as their text, values wrapped in a list to distinguish them."""
    stream = Dialect()
    return [
        str(outcome) if isinstance(outcome, RequestError) else [outcome]
        for piece in pieces
        for outcome in stream.feed(piece)
    ]


def spelled(outcomes: list[object]) -> str:
    """Return the value in a form that compares equal only if the types are equal too: 1, 1.0 and True differ."""
    return json.dumps(outcomes)


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def read(literal: bytes) -> object:
    """Return what one literal within a request is decoded to."""
    (outcome,) = feed(b'{"id":' + literal + b"}")
    return outcome[0]["id"] if isinstance(outcome, list) else outcome


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and repr(left) == repr(right)


# The recorded exchanges


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_recorded_complaints_however_the_input_is_split(case: dict[str, Any]) -> None:
    data = case["send"].encode("latin-1")
    replies = [reply.get("reply", reply) for reply in case["replies"]]
    whole = feed(data)
    assert len(whole) == len(replies)
    for outcome, reply in zip(whole, replies, strict=True):
        desc = reply.get("error", {}).get("desc", "")
        if desc.startswith("JSON "):
            assert outcome == desc
        else:
            assert isinstance(outcome, list)
            if "id" in reply:
                assert outcome[0]["id"] == reply["id"]
    assert spelled(feed(*bytewise(data))) == spelled(whole)
    for middle in range(len(data)):
        assert spelled(feed(data[:middle], data[middle:])) == spelled(whole)


# What is a value


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (b"0", 0),
        (b"-0", 0),
        (b"-0.0", -0.0),
        (b"0.0e1", 0.0),
        (b"10e1", 100.0),
        (b"1E+2", 100.0),
        (b"25e-1", 2.5),
        (b"1.0", 1.0),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", 2**63),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", -(2.0**63)),
        (b"1" * 5000, float("inf")),
        (b"1e400", float("inf")),
        (b"-1e400", float("-inf")),
        (b"true", True),
        (b"false", False),
        (b"null", None),
        (b"'it'", "it"),
        (b"'say \"hi\"'", 'say "hi"'),
        (b'"it\'s"', "it's"),
        (b'"it\\\'s"', "it's"),
        (b"'it\\'s \\\"'", "it's \""),
        (b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'),
        (b"'\\\"\\\\\\/\\b\\f\\n\\r\\t'", '"\\/\b\f\n\r\t'),
        (b'"\x7f"', "\x7f"),
        (b'"a\\u0000b"', "a\0b"),
        (b'"a\xc0\x80b"', "a\0b"),
        (b"'\\u00E9\\u00e9'", "éé"),
        (b'"\\ud83d\\uDE00"', "\U0001f600"),
        (b"'\\ud83d\\uDE00'", "\U0001f600"),
        (b'"\xf4\x8f\xbf\xbd"', "\U0010fffd"),
        (b"[]", []),
        (b"{}", {}),
        (b' [ 1 ,\t"a"\r,\n{ } ] ', [1, "a", {}]),
        (b'{"a":{"a":[]},"b":[[],{"c":null}]}', {"a": {"a": []}, "b": [[], {"c": None}]}),
    ],
)
def test_values(literal: bytes, value: object) -> None:
    assert same(read(literal), value)


# What is not, at the level of tokens: the complaint comes at once, then all up to a resync point is skipped


@pytest.mark.parametrize(
    ("data", "outcomes"),
    [
        (b"\xff", [FF]),
        (b"\xfe", [FF]),
        (b"\xff\xff{}", [FF, FF, [{}]]),
        (b'{"execute":"gue\xff{}', [PARSE + "stray '\"gue\ufffd'", [{}]]),
        (b"@", [PARSE + "stray '@'"]),
        (b"%d {}", [PARSE + "stray '%'", [{}]]),
        (b"// hi\n{}", [PARSE + "stray '/'", [{}]]),
        (b"\xef\xbb\xbf{}", [FF, [{}]]),
        (b"{NaN}", [PARSE + "stray 'N'", VALUE]),
        (b"[+1]", [PARSE + "stray '+'", VALUE]),
        (b"[.5]", [PARSE + "stray '.'", VALUE]),
        (b"[1.]", [PARSE + "stray '1.]'"]),
        (b"[1.x]", [PARSE + "stray '1.x'", VALUE]),
        (b"[01]", [PARSE + "stray '01'", VALUE]),
        (b"[-01]", [PARSE + "stray '-01'", VALUE]),
        (b"[-]", [PARSE + "stray '-]'"]),
        (b"[1e]", [PARSE + "stray '1e]'"]),
        (b"[1e+-1]", [PARSE + "stray '1e+-'", VALUE]),
        (b"truE\n", [PARSE + "invalid keyword 'tru'", PARSE + "stray 'E'"]),
        (b'"a\nb"\n', [PARSE + "stray '\"a\n'"]),
        (b'"a\tb"\n', [PARSE + "stray '\"a\t'"]),
        (b"'a\x1fb'\n", [PARSE + "stray ''a\x1f'"]),
        (b'"a\\\x01b"\n', [PARSE + "stray '\"a\\\x01'"]),
        (b'"a\\\xfe', [PARSE + "stray '\"a\\\ufffd'"]),
        (b'"a\0b"\n', [PARSE + "stray '\"a'"]),
        (b"\0", [PARSE + "stray ''"]),
        # what ends the skipping: a control character but TAB, which is then processed, FE, FF, punctuation
        (b"@\t\"'x {}", [PARSE + "stray '@'", [{}]]),
        (b"@\0{}", [PARSE + "stray '@'", PARSE + "stray ''", [{}]]),
        (b"@\x01{}", [PARSE + "stray '@'", PARSE + "stray '\x01'", [{}]]),
        (b"@\xfe{}", [PARSE + "stray '@'", FF, [{}]]),
        (b"@\xff{}", [PARSE + "stray '@'", FF, [{}]]),
        (b"@\r{}", [PARSE + "stray '@'", [{}]]),
        (b"@[1]", [PARSE + "stray '@'", [[1]]]),
        (b"@]", [PARSE + "stray '@'", VALUE]),
        (b"@}", [PARSE + "stray '@'", VALUE]),
        (b"@:", [PARSE + "stray '@'", VALUE]),
        (b"@,", [PARSE + "stray '@'", VALUE]),
        (b'[[{"a":@\n{}', [PARSE + "stray '@'", [{}]]),
    ],
)
def test_stray(data: bytes, outcomes: list[object]) -> None:
    assert feed(data) == outcomes
    assert feed(*bytewise(data)) == outcomes


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        ("é漢\U0001f600".encode(), "é漢\U0001f600"),
        (b"\xe2\x82", "\ufffd"),
        (b"\xed\xa0\x80", "\ufffd"),
        (b"\xf8\x88\x80\x80\x80", "\ufffd"),
        (b"\xfd\x80\x80\x80\x80\x80\x80", "\ufffd\ufffd"),
        (b"\x80\x80", "\ufffd\ufffd"),
        (b"\xe2\xe2\x82\xac", "\ufffd€"),
        (b"\xc0\xaf", "\ufffd"),
        (b"\xc0\x80", "\0"),
        (b"\xef\xbf\xbf", "\ufffd"),
    ],
)
def test_invalid_utf8_in_a_complaint(received: bytes, shown: str) -> None:
    assert feed(b'"' + received + b"\x01") == [f"{PARSE}stray '\"{shown}\x01'"]


@pytest.mark.parametrize("control", [bytes([code]) for code in range(0x20) if code not in b"\0\t\r\n"])
def test_a_control_character_ends_the_skipping_and_is_stray_itself(control: bytes) -> None:
    assert feed(b"@x" + control + b"x{}") == [PARSE + "stray '@'", f"{PARSE}stray '{control.decode()}'", [{}]]


# ... and at the level of the message: one complaint, when its brackets balance


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"}", "expecting value"),
        (b"]", "expecting value"),
        (b",", "expecting value"),
        (b":", "expecting value"),
        (b"[}", "expecting value"),
        (b"{]", "expecting value"),
        (b"{,}", "expecting value"),
        (b"[,]", "expecting value"),
        (b"[1,]", "expecting value"),
        (b'{"a":1,}', "expecting value"),
        (b'{"a":}', "expecting value"),
        (b'{"a"}', "missing : in object pair"),
        (b'{"a" "b"}', "missing : in object pair"),
        (b'{"a",1}', "missing : in object pair"),
        (b"{1:2}", "key is not a string in object"),
        (b"{null:2}", "key is not a string in object"),
        (b"{{}:2}", "key is not a string in object"),
        (b'{"a":0,[]:2}', "key is not a string in object"),
        (b'{"a":1,"a":2}', "duplicate key"),
        (b'{"b":{"a":1,"a":2}}', "duplicate key"),
        (b'{"\\u0000":1,"\xc0\x80":2}', "duplicate key"),
        (b'{"a":1 "b":2}', "expected separator in dict"),
        (b'{"a":1:2}', "expected separator in dict"),
        (b'{"a":1]', "expected separator in dict"),
        (b'{"a":0x10}', "expected separator in dict"),
        (b'{"a":0e1}', "expected separator in dict"),
        (b"[1 2]", "expected separator in list"),
        (b"[1:2]", "expected separator in list"),
        (b"[1}", "expected separator in list"),
        (b"[{}}", "expected separator in list"),
        (b"[hello]", "invalid keyword 'hello'"),
        (b"{hello}", "invalid keyword 'hello'"),
        (b"[nul]", "invalid keyword 'nul'"),
        (b'["\xe2\x82"]', "invalid UTF-8 sequence in string"),
        (b"['\xe2\x82']", "invalid UTF-8 sequence in string"),
        (b'["\xc0\xaf"]', "invalid UTF-8 sequence in string"),
        (b'["\xed\xa0\x80"]', "invalid UTF-8 sequence in string"),
        (b'["\xf4\x90\x80\x80"]', "invalid UTF-8 sequence in string"),
        (b'["\xef\xb7\x90"]', "invalid UTF-8 sequence in string"),
        (b'["\xef\xbf\xbe"]', "invalid UTF-8 sequence in string"),
        (b'["\xf4\x8f\xbf\xbf"]', "invalid UTF-8 sequence in string"),
        (b'["\\x41"]', "invalid escape sequence in string"),
        (b'["\\U0041"]', "invalid escape sequence in string"),
        (b'["\\\xc3\xa9"]', "invalid escape sequence in string"),
        (b'{"\\q":1}', "invalid escape sequence in string"),
        (b'["\\u12"]', '\\u12" is not a valid Unicode character'),
        (b'["\\u1"]', '\\u1" is not a valid Unicode character'),
        (b"['\\u12G4z']", "\\u12G4 is not a valid Unicode character"),
        (b'["\\u1\xc3\xa92z"]', "\\u1é2 is not a valid Unicode character"),
        (b'["\\ud800"]', "\\ud800 is not a valid Unicode character"),
        (b'["\\uDC00"]', "\\uDC00 is not a valid Unicode character"),
        (b'["\\ud800\\u0041"]', "\\ud800 is not a valid Unicode character"),
        (b'["\\ud800\\u12"]', "\\ud800 is not a valid Unicode character"),
        (b'["\\uffff"]', "\\uffff is not a valid Unicode character"),
        (b'["\\ufdd0"]', "\\ufdd0 is not a valid Unicode character"),
        (b'["\\ud83f\\udfff"]', "\\ud83f\\udfff is not a valid Unicode character"),
        # the first problem is the one reported
        (b'["\\x\xc3"]', "invalid escape sequence in string"),
        (b'["\xc3\\x"]', "invalid UTF-8 sequence in string"),
        (b'[nul,"\\x",1 2]', "invalid keyword 'nul'"),
        (b'{"a":1,"a":[1 2]}', "expected separator in list"),
        (b"{[1 2]:3}", "expected separator in list"),
    ],
)
def test_complaints(data: bytes, complaint: str) -> None:
    outcomes = [PARSE + complaint, [{"next": 1}]]
    assert feed(data + b'{"next":1}') == outcomes
    assert feed(*bytewise(data + b'{"next":1}')) == outcomes


def test_a_complaint_quotes_no_more_than_1023_bytes() -> None:
    (keyword,) = feed(b"x" * 3000 + b"\n")
    assert keyword == PARSE + "invalid keyword '" + "x" * (1023 - len("invalid keyword '"))
    (stray,) = feed(b'"' + b"x" * 3000 + b"\xff")
    assert stray == PARSE + "stray '\"" + "x" * (1023 - len("stray '\""))


# When it comes


@pytest.mark.parametrize("data", [b"{}", b"[]", b'"a"', b"'a'", b"}", b'{"a":[}]', b"\xff", b'"a\n'])
def test_complete_at_its_last_byte(data: bytes) -> None:
    assert feed(data[:-1]) == []
    assert len(feed(data)) == 1


@pytest.mark.parametrize("data", [b"12", b"0", b"1.5", b"1e5", b"true", b"hello"])
@pytest.mark.parametrize("byte", [b"\n", b" ", b'"', b"{", b"\xff"])
def test_complete_at_the_next_byte(data: bytes, byte: bytes) -> None:
    assert feed(data) == []
    assert feed(data, byte)[0] == feed(data + b"\n")[0]


def test_glued_and_separated() -> None:
    assert feed(b'{}{"a":1}[] 1 2\ttrue\r\n"a"\'b\'0e ') == [
        *([{}], [{"a": 1}], [[]], [1], [2], [True], ["a"], ["b"], [0]),
        PARSE + "invalid keyword 'e'",
    ]


def test_lazy() -> None:
    outcomes = Dialect().feed(b'{"a":1}]{"b":2}')
    assert next(outcomes) == {"a": 1}
    assert isinstance(next(outcomes), RequestError)
    assert next(outcomes) == {"b": 2}


@pytest.mark.parametrize("held", [b"{", b'"a', b"1", b"x", b"[1,", b"@x", b'"\\', b"-"])
def test_idle_when_nothing_is_held(held: bytes) -> None:
    stream = Dialect()
    assert stream.idle
    assert list(stream.feed(b'{"a":1}\n]  ')) != []
    assert stream.idle
    list(stream.feed(held))
    assert not stream.idle
    list(stream.feed(b'\xff{"a":1}'))
    assert stream.idle


# Limits


def depth(value: object) -> int:
    levels = 0
    while isinstance(value, list | dict):
        levels += 1
        value = next(iter(value.values() if isinstance(value, dict) else value), None)
    return levels


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":[', b"]}")])
def test_depth(opening: bytes, closing: bytes) -> None:
    times = MAX_DEPTH // sum(map(opening.count, (b"[", b"{")))
    (value,) = feed(opening * times + closing * times)
    assert isinstance(value, list)
    assert depth(value[0]) == MAX_DEPTH
    too_deep = feed(opening * times + b"[" + b"]" + closing * times)
    assert too_deep == ["JSON nesting depth limit exceeded"] + [VALUE] * (MAX_DEPTH + 1)


def test_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TOKENS == 1 << 21
    monkeypatch.setattr(dialect, "MAX_TOKENS", 20)
    assert feed(b"[" + b"1," * 8 + b"{}]") == [[[1] * 8 + [{}]]]
    assert feed(b"[" + b"1," * 9 + b"1][2]") == ["JSON token count limit exceeded", [[2]]]


SIZE = "JSON token size limit exceeded"


@pytest.mark.slow
def test_size_of_a_token() -> None:
    (longest,) = feed(b'"' + b"a" * (MAX_SIZE - 3) + b'"')
    assert longest == ["a" * (MAX_SIZE - 3)]
    assert feed(b'"' + b"a" * (MAX_SIZE - 2) + b'"[2]') == [SIZE, [[2]]]
    # unterminated: reported at the first byte too many, and what follows is a new message
    without_end = b'"' + b"a" * (MAX_SIZE - 1)
    assert feed(without_end) == []
    assert feed(without_end + b"a[2]") == [SIZE, [[2]]]
    assert feed(without_end[:-2], b"aa", b"a[2]") == [SIZE, [[2]]]
    assert feed(without_end + b"\\n[2]") == [SIZE, PARSE + "invalid keyword 'n'", [[2]]]
    (stray,) = feed(without_end + b"\xff")
    assert isinstance(stray, str)
    assert stray.startswith(PARSE + "stray '\"aaa")


@pytest.mark.slow
def test_size_of_a_message() -> None:
    (value,) = feed(b'["' + b"a" * (MAX_SIZE - 8) + b'"   ,11]')
    assert isinstance(value, list)
    assert value[0][1] == 11
    # the string fits, the bracket after it does not, the other one is left over
    assert feed(b'["' + b"a" * (MAX_SIZE - 4) + b'"][2]') == [SIZE, [[2]]]
    assert feed(b'["' + b"a" * (MAX_SIZE - 3) + b'"][2]') == [SIZE, VALUE, [[2]]]


def test_every_byte_is_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: a token in many pieces costs as much as in one piece."""
    runs: list[int] = []

    def counted(match: Any) -> Any:
        def counting(data: bytes, pos: int) -> re.Match[bytes]:
            run: re.Match[bytes] = match(data, pos)
            runs.append(run.end() - pos)
            return run

        return counting

    data = b'{"a":"' + b"QUFB\\n" * 500 + b'","b":' + b"1" * 500 + b"}" + b"@" + b"x" * 500
    monkeypatch.setattr(dialect, "_RUN", {state: counted(match) for state, match in dialect._RUN.items()})
    for size in (1, 7, 64, len(data)):
        runs.clear()
        assert len(feed(*(data[i : i + size] for i in range(0, len(data), size)))) == 2
        assert sum(runs) <= len(data)
        assert len(runs) <= 2 * len(data) // size + 1100  # a piece, a token or an escape cut in two starts a run


# Whatever comes

FRAGMENTS = [b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"\\", b"\\u00", b"\\ud83d", b"\\ude00", b"\n", b" "]
FRAGMENTS += [b'"a"', b"'b'", b'{"a":', b"0", b"-", b".", b"e", b"1", b"true", b"x", b"\xff", b"\xfe", b"\0", SYNC]
FRAGMENTS += [b"\xc0\x80", b"\xe2\x82", "é".encode(), b"\xed\xa0\x80", b"\xef\xbf\xbf", b"\t"]
garbage = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=20).map(b"".join)
cuts = st.lists(st.integers(0, 100), max_size=6)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(position, len(data)) for position in at), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@pytest.mark.slow
@given(garbage, cuts)
@settings(max_examples=500, deadline=None)
def test_pieces_do_not_matter(data: bytes, at: list[int]) -> None:
    whole = spelled(feed(data))
    assert spelled(feed(*cut(data, at))) == whole
    assert spelled(feed(*bytewise(data))) == whole


@given(garbage, cuts)
@settings(max_examples=300, deadline=None)
def test_in_step_again_after_ff(data: bytes, at: list[int]) -> None:
    before = feed(*cut(data, at))
    after = feed(*cut(data, at), b"\xff" + SYNC)
    assert spelled(after[: len(before)]) == spelled(before)
    assert after[-1] == [json.loads(SYNC)]
    assert isinstance(after[-2], str)
    assert after[-2].startswith(PARSE + "stray '")


text = st.text(
    st.characters(codec="utf-8").filter(lambda c: not (ord(c) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(c) < 0xFDF0))
)
atoms = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    atoms | text, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)


@pytest.mark.slow
@given(st.lists(values, min_size=1), st.booleans())
@settings(max_examples=300, deadline=None)
def test_reads_what_json_writes(written: list[object], ascii_only: bool) -> None:
    (outcome,) = feed(json.dumps(written, ensure_ascii=ascii_only).encode())
    assert isinstance(outcome, list)
    assert same(outcome[0], written)


@given(text)
@settings(max_examples=200, deadline=None)
def test_both_quotes_mean_the_same(said: str) -> None:
    double = json.dumps(said, ensure_ascii=False)
    single = "'" + double[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    assert feed(single.encode()) == [[said]]
