"""QEMU's dialect of JSON, as a stream: bytes in, values and complaints out, in order.

The rule it keeps: what comes out depends only on the bytes, never on how they were cut into pieces, and
every byte is looked at a bounded number of times. Three parts, each fed by the one before it:

- ``Dialect``, the lexer, is a table of states. Each runs over the bytes that leave it where it is with one
  compiled expression, so a long string costs no Python per byte. Tokens that are whole, and after which another can
  begin, are taken by the thousand before that: a host may send two million of them in one message.
- ``_Message`` counts brackets and limits, and parses as the tokens come; its first complaint is the
  message's only one, and is held back until the brackets balance.
- ``literals`` says what the text of a token means.

Where the dialect differs from RFC 8259: it takes single-quoted strings, ``\\'`` and the NUL of modified UTF-8
(C0 80); it refuses noncharacters, and an exponent right after a leading zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from qga.errors import RequestError
from qga.literals import complaint, keyword, number, string

MAX_SIZE = 64 * 1024 * 1024  # bytes: a token, and the sum of a message's tokens, stay below; as QEMU
MAX_TOKENS = 1 << 21  # per message; as QEMU
MAX_DEPTH = 1024  # open braces and brackets together; as QEMU

_STRAY, _RESYNC = "stray", "resync"
_STRING, _INTEGER, _FLOAT, _KEYWORD, _PUNCTUATION = "string", "integer", "float", "keyword", "punctuation"
_START, _SKIP = "start", "skip"

_DIGITS = b"0123456789"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_CONTROL_BUT_TAB = bytes(range(0x09)) + bytes(range(0x0A, 0x20))
_TEXT = bytes(range(0x20, 0xFE))

# state: (the bytes it runs over, {next byte: state or outcome}, the outcome of any other byte)
_STATES: dict[str, tuple[bytes, dict[bytes, str], str]] = {
    _START: (
        rb"[ \t\r\n]*+",
        {
            b"[]{}:,": _PUNCTUATION,
            b'"': "double",
            b"'": "single",
            b"-": "minus",
            b"0": "zero",
            b"123456789": "digits",
            _LETTERS: "word",
        },
        _STRAY,
    ),
    "double": (
        rb'(?:[^"\\\x00-\x1f\xfe\xff]++|\\[\x20-\xfd])*+',
        {b'"': _STRING, b"\\": "double escape"},
        _STRAY,
    ),
    "double escape": (rb"", {_TEXT: "double"}, _STRAY),
    "single": (
        rb"(?:[^'\\\x00-\x1f\xfe\xff]++|\\[\x20-\xfd])*+",
        {b"'": _STRING, b"\\": "single escape"},
        _STRAY,
    ),
    "single escape": (rb"", {_TEXT: "single"}, _STRAY),
    "minus": (rb"", {b"0": "zero", b"123456789": "digits"}, _STRAY),
    "zero": (rb"", {b".": "point", _DIGITS: _STRAY}, _INTEGER),
    "digits": (rb"[0-9]*+", {b".": "point", b"eE": "exponent"}, _INTEGER),
    "point": (rb"", {_DIGITS: "fraction"}, _STRAY),
    "fraction": (rb"[0-9]*+", {b"eE": "exponent"}, _FLOAT),
    "exponent": (rb"", {b"+-": "exponent sign", _DIGITS: "power"}, _STRAY),
    "exponent sign": (rb"", {_DIGITS: "power"}, _STRAY),
    "power": (rb"[0-9]*+", {}, _FLOAT),
    "word": (rb"[a-z]*+", {}, _KEYWORD),
    # After a stray byte: up to where a message may begin or end again.
    _SKIP: (
        rb"[^\x00-\x08\x0a-\x1f\xfe\xff\[\]{}:,]*+",
        {_CONTROL_BUT_TAB + b"\xfe\xff[]{}:,": _RESYNC},
        _SKIP,
    ),
}
_BETWEEN_TOKENS = frozenset({_START, _SKIP})
_TAKES_THE_BYTE = frozenset({_STRAY, _STRING, _PUNCTUATION})  # the other outcomes leave it to what follows

_RUN = {state: re.compile(run).match for state, (run, _, _) in _STATES.items()}


def _row(exits: dict[bytes, str], otherwise: str) -> list[str]:
    row = [otherwise] * 256
    for characters, outcome in exits.items():
        for byte in characters:
            row[byte] = outcome
    return row


_NEXT = {state: _row(exits, otherwise) for state, (_, exits, otherwise) in _STATES.items()}


# Up to MAX_RUN tokens that are whole wherever the piece ends, and the tokens of such a run.
MAX_RUN = 4096
_BLANK = rb"[ \t\r\n]*+"
_QUOTED = (
    rb'"(?:[^"\\\x00-\x1f\xfe\xff]++|\\[\x20-\xfd])*+"'
    rb"|'(?:[^'\\\x00-\x1f\xfe\xff]++|\\[\x20-\xfd])*+'"
)
_BARE = (
    rb"(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++(?:[eE][+-]?[0-9]++)?+)?+|-?[1-9][0-9]*+[eE][+-]?[0-9]++|[a-z]++)"
    rb"(?=[][{}:, \t\r\n\"'])"
)
_run_of_tokens = re.compile(rb"(?:%s(?:[][{}:,]|%s|%s)){0,%d}+" % (_BLANK, _QUOTED, _BARE, MAX_RUN)).match
_tokens_of_run = re.compile(rb"[][{}:,]|%s|[^][{}:,\"' \t\r\n]++" % _QUOTED).findall


class Dialect:
    """The stream of one peer."""

    def __init__(self) -> None:
        self._state = _START
        self._held = bytearray()  # the token that the last piece left unfinished
        self._message = _Message()

    @property
    def idle(self) -> bool:
        """Nothing is held: what comes next is read as if it were the first."""
        return self._state == _START and not self._message.tokens

    def feed(self, data: bytes) -> Iterator[object]:
        """The values that `data` completes, and a RequestError for each complaint, in order.

        Lazy: run it to its end before feeding more.
        """
        held, message = self._held, self._message
        pos = begin = 0  # `begin` is where the token, or what it has in this piece, starts
        end = len(data)
        while True:
            if self._state is _START and not held and end <= MAX_SIZE:
                whole = _run_of_tokens(data, pos)
                assert whole is not None  # it may be empty
                begin, pos = pos, whole.end()
                tokens, taken = _tokens_of_run(data, begin, pos), 0
                while taken < len(tokens):
                    taken = message.take(tokens, taken, pos - begin)
                    if message.over:
                        result = message.result()
                        message.clear()
                        yield result
                if len(tokens) == MAX_RUN:
                    continue
            run = _RUN[self._state](data, pos)
            assert run is not None  # every run may be empty
            pos = run.end()
            if self._state in _BETWEEN_TOKENS:
                begin = pos
            elif len(held) + pos - begin > MAX_SIZE:
                pos = begin = begin + MAX_SIZE + 1 - len(held)
                held.clear()
                message.clear()
                self._state = _START
                yield RequestError("JSON token size limit exceeded")
                continue
            if pos == end:
                held += data[begin:]
                return
            outcome = _NEXT[self._state][data[pos]]
            if outcome in _STATES:
                self._state = outcome
                pos += 1
                continue
            self._state = _START
            if outcome is _RESYNC:
                continue
            if outcome in _TAKES_THE_BYTE:
                pos += 1
            token = data[begin:pos]
            if held:
                token = bytes(held) + token
                held.clear()
            begin = pos
            if outcome is _STRAY:
                self._state = _SKIP
                message.clear()
                yield complaint(b"stray '" + token.partition(b"\0")[0] + b"'")
            else:
                message.take([token], 0, len(token))
                if message.over:
                    result = message.result()
                    message.clear()
                    yield result


# Where the parser stands: what may come next.
_TOP, _ITEM, _FIRST_ITEM, _KEY, _FIRST_KEY, _COLON, _MEMBER, _AFTER_ITEM, _AFTER_MEMBER = range(9)

_COMMA = {_AFTER_ITEM: _ITEM, _AFTER_MEMBER: _KEY}
_MISSING = {  # anywhere else a value may come
    _COLON: b"missing : in object pair",
    _AFTER_ITEM: b"expected separator in list",
    _AFTER_MEMBER: b"expected separator in dict",
}


def _value(token: bytes) -> object:
    """Of a token that is no punctuation; raises RequestError."""
    if token[0] in b"\"'":
        return string(token)
    if token[0] in _LETTERS:
        return keyword(token)
    return number(token) if token.lstrip(b"-").isdigit() else float(token)


class _Message:
    """The tokens of one top-level value, parsed as they come. ``over``: it has ended, ``result`` has what it was."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.over = False
        self.tokens = 0
        self._size = 0
        self._braces = self._brackets = 0
        self._error: RequestError | None = None
        self._value: object = None
        self._at = _TOP
        self._container: Any = None
        self._key = ""
        self._outer: list[tuple[Any, int, str]] = []

    def result(self) -> object:
        return self._value if self._error is None else self._error

    def take(self, tokens: Sequence[bytes], begin: int, size: int) -> int:
        """Take tokens from ``begin`` on, up to the one that ends the message; returns where the next one is.

        ``size``: bytes that they have together, or more. One by one, where the message may come to its limits.
        """
        end = len(tokens)
        if self._size + size >= MAX_SIZE or self.tokens + end - begin > MAX_TOKENS:
            end, size = begin + 1, len(tokens[begin])
            if self._size + size >= MAX_SIZE or self.tokens == MAX_TOKENS:
                return self._exceeds("token size" if self._size + size >= MAX_SIZE else "token count", end)
        if not self.tokens and tokens[begin] not in _DEPTH:
            end = begin + 1  # a message of one token
            self.over = True
        for position in range(begin, end):
            token = tokens[position]
            if token in _DEPTH:
                braces, brackets = _DEPTH[token]
                self._braces += braces
                self._brackets += brackets
                if self._braces + self._brackets > MAX_DEPTH:
                    return self._exceeds("nesting depth", position + 1)
                if self._braces < 0 or self._brackets < 0 or self._braces == self._brackets == 0:
                    self.over, end = True, position + 1
            if self._error is None:
                try:
                    self._parse(token)
                except RequestError as error:
                    self._error = error.with_traceback(None)  # it may have to wait, and frames hold all they knew
            if self.over:
                break
        self.tokens += end - begin
        self._size += sum(map(len, tokens[begin:end]))
        return end

    def _exceeds(self, limit: str, position: int) -> int:
        self._error, self.over = RequestError(f"JSON {limit} limit exceeded"), True
        return position

    def _parse(self, token: bytes) -> None:
        at = self._at
        if token == b",":
            if at not in _COMMA:
                raise complaint(_MISSING.get(at, b"expecting value"))
            self._at = _COMMA[at]
        elif token == b":":
            if at != _COLON:
                raise complaint(_MISSING.get(at, b"expecting value"))
            self._at = _MEMBER
        elif token in _CLOSES:
            if at not in _CLOSES[token]:
                raise complaint(_MISSING.get(at, b"expecting value"))
            value = self._container
            self._container, self._at, self._key = self._outer.pop()
            self._put(value)
        elif at in _MISSING:
            raise complaint(_MISSING[at])
        elif token == b"[":
            self._outer.append((self._container, at, self._key))
            self._container, self._at = [], _FIRST_ITEM
        elif token == b"{":
            self._outer.append((self._container, at, self._key))
            self._container, self._at = {}, _FIRST_KEY
        else:
            self._put(_value(token))

    def _put(self, value: object) -> None:
        """A value is complete: to its place in what holds it."""
        at = self._at
        if at in (_ITEM, _FIRST_ITEM):
            self._container.append(value)
            self._at = _AFTER_ITEM
        elif at == _MEMBER:
            if self._key in self._container:
                raise complaint(b"duplicate key")
            self._container[self._key] = value
            self._at = _AFTER_MEMBER
        elif at == _TOP:
            self._value = value
        elif isinstance(value, str):
            self._key = value
            self._at = _COLON
        else:  # a key may be any value until it is complete
            raise complaint(b"key is not a string in object")


_DEPTH = {b"{": (1, 0), b"}": (-1, 0), b"[": (0, 1), b"]": (0, -1)}  # braces and brackets that it opens
_CLOSES = {b"]": (_FIRST_ITEM, _AFTER_ITEM), b"}": (_FIRST_KEY, _AFTER_MEMBER)}
