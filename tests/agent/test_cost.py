"""What a host sends costs no more than in proportion to its length, by a counter and not by a clock.

The counter counts lines of Python, by sys.settrace(), and the characters that methods of a text run over, by a text
that counts them. A regular expression, or whatever else works on texts unseen, would seem to be free, so where it
matters a test also asks that the counter has seen the text read.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qga.agent.audit import redaction
from qga.agent.audit.redaction import MAX_ERROR, NOT_SHOWN
from qga.agent.policy import patterns
from qga.protocol import base64, schema, tokens, validate
from qga.protocol.errors import CommandError, QgaError, RequestError

SCHEMA = schema.load()


class Meter:
    """``with Meter() as meter`` counts the lines executed and the characters of ``meter.text(...)`` read."""

    def __init__(self) -> None:
        self.lines = self.characters = 0

    def __enter__(self) -> Meter:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    @property
    def cost(self) -> int:
        return self.lines + self.characters

    def text(self, text: str) -> str:
        return _counted(self, text)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        self.lines += event == "line"
        return self._trace


class _Counted(str):
    meter: Meter

    __slots__ = ("meter",)

    def __str__(self) -> str:
        return self

    def find(self, piece: str, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        found = str.find(self, piece, start, len(self) if end is None else end)
        self.meter.characters += (len(self) if found < 0 else found + len(piece)) - start
        return found

    def startswith(self, piece: str, start: int = 0) -> bool:  # type: ignore[override]
        self.meter.characters += len(piece)
        return str.startswith(self, piece, start)

    def endswith(self, piece: str) -> bool:  # type: ignore[override]
        self.meter.characters += len(piece)
        return str.endswith(self, piece)

    def replace(self, old: str, new: str) -> str:  # type: ignore[override]
        self.meter.characters += len(self)
        return _counted(self.meter, str.replace(self, old, new))

    def split(self, separator: str) -> list[str]:  # type: ignore[override]
        self.meter.characters += len(self)
        return [_counted(self.meter, part) for part in str.split(self, separator)]

    def __getitem__(self, at: Any) -> str:
        part = str.__getitem__(self, at)
        self.meter.characters += len(part)
        return _counted(self.meter, part)

    def __contains__(self, piece: object) -> bool:
        self.meter.characters += len(self)
        return str.__contains__(self, str(piece))

    def __eq__(self, other: object) -> bool:
        self.meter.characters += len(self)
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def _counted(meter: Meter, text: str) -> str:
    counted = _Counted(text)
    counted.meter = meter
    return counted


def cost(work: Callable[[Meter, int], object], size: int) -> int:
    with Meter() as meter:
        work(meter, size)
    return meter.cost


def assert_linear(work: Callable[[Meter, int], object], size: int, *, sees: bool = True) -> None:
    """Sixteen times the size costs at most about sixteen times as much; quadratic cost would be 256 times."""
    less, more = cost(work, size), cost(work, 16 * size)
    assert more <= 20 * less + 2000
    if sees:
        assert more >= 16 * size  # what is not seen to be read proves nothing


# Patterns


def regular_expression(pattern: str) -> re.Pattern[str]:
    """Translate a pattern into the regular expression that defines its meaning."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def regular_path(pattern: str) -> re.Pattern[str]:
    parts = pattern[1:].split("/") if pattern != "/" else []
    regex = "".join(
        ("/.+" if number == len(parts) else "(?:/.+)?")
        if part == "**"
        else "/" + "[^/]*".join(map(re.escape, part.split("*")))
        for number, part in enumerate(parts, 1)
    )
    return re.compile(regex or "/", re.DOTALL)


@given(st.text("ab*\n", max_size=8), st.text("ab\n", max_size=12))
@example("ab*ba", "aba")
@settings(max_examples=500)
def test_a_pattern_means_what_its_regular_expression_does(pattern: str, text: str) -> None:
    assert patterns.text(pattern)(text) == (regular_expression(pattern).fullmatch(text) is not None)


component = st.text("ab\n", min_size=1, max_size=3)
glob = st.text("ab*\n", min_size=1, max_size=4).filter(lambda text: "**" not in text)


@pytest.mark.slow
@given(st.lists(glob | st.just("**"), max_size=6), st.lists(component, max_size=7))
@example(["**", "**"], ["a"])
@example(["a", "**", "b"], ["a", "b"])
@example(["**", "a", "**", "a"], ["a"])
@settings(max_examples=800)
def test_a_path_means_what_its_regular_expression_does(parts: list[str], components: list[str]) -> None:
    pattern, path = "/" + "/".join(parts), "/" + "/".join(components)
    expected = regular_path(pattern).fullmatch(path) is not None
    assert patterns.paths([pattern], through_links=False)(path) == expected


@given(st.text("ab*", min_size=1, max_size=10), st.text("ab", min_size=1, max_size=6), st.sampled_from("abc"))
@example("*a*b", "a", "a")
@example("*a*a*a*a*b", "a", "a")
@settings(max_examples=60, deadline=None)
def test_a_pattern_costs_in_proportion_to_the_text(pattern: str, piece: str, end: str) -> None:
    matches = patterns.text(pattern)
    assert_linear(lambda meter, size: matches(meter.text(piece * (size // len(piece)) + end)), 600, sees=False)


def test_the_pattern_that_once_took_seconds_reads_the_text_once() -> None:
    matches = patterns.text("*a*b")
    with Meter() as meter:
        assert not matches(meter.text("a" * 200_000))  # the first a, and no b at the end
    assert meter.cost < 100
    with Meter() as meter:
        assert not matches(meter.text("b" * 200_000))
    assert 200_000 <= meter.cost < 210_000


@pytest.mark.parametrize("pattern", ["/**/log/**/x", "/**/a/**/a/**/a/**/b", "/**/*a*b/**", "/a/**"])
@pytest.mark.parametrize("piece", ["/log", "/a", "/a/b", "/aab"])
def test_a_path_costs_in_proportion_to_it(pattern: str, piece: str) -> None:
    matches = patterns.paths([pattern], through_links=False)
    assert_linear(lambda meter, size: matches(meter.text(piece * (size // len(piece)) + "/z")), 800)


# What a log shows of an error


class Quoting(QgaError):  # noqa: N818
    """An error whose text is a counting string."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text

    def __str__(self) -> str:
        return self._text


def shown(text: str, *hidden: str) -> str:
    """Return this error text as it is shown, for an invalid request that contains the ``hidden`` strings."""
    return redaction.words(Quoting(text), {"execute": "guest-ping", "x": [*hidden]}, None)


@pytest.mark.parametrize(
    ("text", "hidden", "expected"),
    [
        ("a secret thing", ["secret"], f"a {NOT_SHOWN} thing"),
        ("secretsecret", ["secret"], NOT_SHOWN * 2),
        ("abcdefgh", ["abcdef", "defgh"], NOT_SHOWN),
        ("abcdefgh", ["cdef", "abcdefg"], f"{NOT_SHOWN}h"),
        ("'ab' abc 'abc' 'a'", ["ab", "a", "abc"], f"'{NOT_SHOWN}' abc '{NOT_SHOWN}' '{NOT_SHOWN}'"),
        ("aaaaaa", ["aaaa"], NOT_SHOWN),
        ("guest-ping has arguments", ["guest-ping", "arguments", "id"], "guest-ping has arguments"),
        ("nothing", ["nothing else"], "nothing"),
        ("nothing", ["", "n", "th"], "nothing"),
        ("it's", ["s", "it's"], NOT_SHOWN),
    ],
)
def test_what_is_hidden_is_not_shown(text: str, hidden: list[str], expected: str) -> None:
    assert shown(text, *hidden) == expected


def test_a_long_text_ends_with_its_length() -> None:
    assert shown("=" * (MAX_ERROR + 1), "secret") == "=" * MAX_ERROR + f"... ({MAX_ERROR + 1} characters)"
    assert shown("=" * MAX_ERROR, "secret") == "=" * MAX_ERROR


SECRETS = ["Correct-Horse-7", "Correct-Horse-7 and its battery" * 300, "0123456789" * 1_000_000]


@pytest.mark.parametrize("secret", SECRETS)
@given(st.integers(0, MAX_ERROR + 20), st.integers(0, 5000))
@example(MAX_ERROR - 1, 0)
@example(MAX_ERROR - 4, 1)
@settings(max_examples=25, deadline=None)
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(secret: str, before: int, after: int) -> None:
    told = shown("#" * before + secret + "#" * after, "other words", secret).split("... (")[0]
    assert set(told.replace(NOT_SHOWN, "")) <= {"#"}
    assert NOT_SHOWN in told or before >= MAX_ERROR


@given(st.lists(st.text("ab'", min_size=1, max_size=9), max_size=6), st.text("ab'", max_size=40))
@settings(max_examples=400)
def test_nothing_hidden_is_left_in_any_text(hidden: list[str], text: str) -> None:
    told = shown(text, *hidden)
    for piece in told.split(NOT_SHOWN):
        assert not [word for word in hidden if len(word) >= 4 and word in piece]
        assert not [word for word in hidden if f"'{word}'" in piece]
    if not any(word in text for word in hidden):
        assert told == text


def unexpected(meter: Meter, size: int) -> object:
    """A member name as long as the number of values: ``{"execute": …, "xxx…": ["0", "1", …]}``."""
    name, digits = "x" * size, [format(number, "x") for number in range(size // 8)]
    error = Quoting(meter.text(f"QMP input member '{name}' is unexpected"))
    return redaction.words(error, {"execute": "guest-ping", name: digits}, None)


def alike(meter: Meter, size: int) -> object:
    """Every one of many secrets has the same prefix as the text."""
    words = ["a" * 8 + format(number, "08x") for number in range(size // 16)]
    return redaction.words(Quoting(meter.text("a" * size)), {"execute": "guest-ping", "x": words}, None)


def arguments(meter: Meter, size: int) -> object:
    """For a valid request: the error quotes the arguments of a program."""
    arg = [f"--option-{number}" for number in range(size // 16)]
    text = meter.text(f"Failed to execute child process “/bin/x” ({' '.join(arg)})")
    message = {"execute": "guest-exec", "arguments": {"path": "/bin/x", "arg": arg}}
    return redaction.words(Quoting(text), message, SCHEMA.commands["guest-exec"])


@pytest.mark.parametrize("work", [unexpected, alike, arguments])
def test_an_error_costs_in_proportion_to_the_request(work: Callable[[Meter, int], object]) -> None:
    assert_linear(work, 20_000, sees=False)
    with Meter() as meter:
        work(meter, 20_000)
    assert meter.characters >= MAX_ERROR


def test_a_text_too_similar_to_a_secret_is_not_shown_at_all() -> None:
    words = ["aaaa" + format(number, "04x") for number in range(1000)]
    assert shown("a" * MAX_ERROR, *words) == NOT_SHOWN
    assert shown("b" * MAX_ERROR, *words) == "b" * MAX_ERROR


# Errors about invalid arguments


class Elements(list[object]):
    """A list that counts how many of its elements were read."""

    looked_at = 0

    def __iter__(self) -> Iterator[object]:
        for element in super().__iter__():
            self.looked_at += 1
            yield element


@pytest.mark.parametrize(
    ("name", "member", "element", "words"),
    [
        ("guest-ssh-add-authorized-keys", "keys", 1, "Invalid parameter type for 'keys[0]', expected: string"),
        ("guest-set-vcpus", "vcpus", {}, "Parameter 'vcpus[0].logical-id' is missing"),
    ],
)
def test_the_first_problem_is_reported_without_checking_the_others(
    name: str, member: str, element: object, words: str
) -> None:
    elements = Elements([element] * 1_000_000)
    given = {"username": "x", member: elements} if name.startswith("guest-ssh") else {member: elements}
    with pytest.raises(RequestError, match=re.escape(words)):
        validate.visit(SCHEMA.commands[name].arguments, given)
    assert elements.looked_at == 1


# Base64 as QEMU takes it


def one_by_one(text: str) -> bytes:
    """Quartet by quartet: a ``=`` is zero bits, and in third or fourth place one byte less."""
    data = text.encode().replace(b"\n", b"")
    decoded = b""
    for at in range(0, len(data) // 4 * 4, 4):
        quartet = data[at : at + 4]
        three = base64.decode(quartet.replace(b"=", b"A").decode())
        decoded += bytes(byte for byte, sign in zip(three, b"." + quartet[2:], strict=True) if sign != ord("="))
    return decoded


@given(st.text("Qz+=\n", max_size=40))
@settings(max_examples=400)
def test_lenient_base64(text: str) -> None:
    assert base64.decode(text) == one_by_one(text)


def test_lenient_base64_runs_no_python_per_quartet() -> None:
    assert_linear(lambda meter, size: base64.decode("QQ==" * size), 16, sees=False)
    with Meter() as meter:
        assert base64.decode("QQ==" * 100_000) == b"A" * 100_000
        with pytest.raises(CommandError):
            base64.decode("QQ=!" * 100_000)
    assert meter.cost < 200


def test_a_pending_error_holds_no_frames() -> None:
    from qga.protocol.dialect import Dialect

    (error,) = Dialect().feed(b'{"a":1,"a":2}')
    assert isinstance(error, RequestError)
    assert error.__traceback__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("escape", [rb"\'", rb"\"", rb"\\", rb"\u0061", b"\xc0\x80", rb"\ud83d\ude00"])
@pytest.mark.parametrize("end", [b"", rb"\x", b"\xff"])
@pytest.mark.parametrize("quote", [b"'", b'"'])
def test_the_escapes_of_a_string_are_not_decoded_one_by_one(escape: bytes, end: bytes, quote: bytes) -> None:
    """A string of 8 MB may have four million of them."""
    lines = []
    for count in (1, 1000):
        token = quote + rb"\'" + escape * count + end + quote
        with Meter() as meter, contextlib.suppress(RequestError):
            tokens.string(token)
        lines.append(meter.lines)
    assert lines[0] == lines[1]
