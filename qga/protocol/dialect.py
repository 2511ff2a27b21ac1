"""QEMU's dialect of JSON, as a stream: bytes in, values and errors out, in order.

The rule it keeps: the result depends only on the bytes, never on how they were cut into pieces, and every byte is
examined a bounded number of times. There are three parts, each of which passes its results to the next:

- ``Dialect``, the lexer, is a table of states. In each state one compiled expression skips the bytes that do not
  change it, so a long string costs no Python code per byte. Before that, runs of complete tokens are taken by the
  thousand: a host may send two million of them in one message.
- ``_Message`` counts brackets and checks limits, and parses the tokens as they come; its first error is the message's
  only one, and is held back until the brackets balance.
- ``tokens`` decodes the text of a token.

It differs from RFC 8259 as follows: it accepts single-quoted strings, ``\\'`` and the NUL of modified UTF-8
(C0 80); it refuses noncharacters, and an exponent right after a leading zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from qga.protocol.errors import RequestError
from qga.protocol.tokens import complaint, keyword, number, string

MAX_SIZE = 64 * 1024 * 1024  # bytes: a token, and all tokens of a message together, must be smaller; as in QEMU
MAX_TOKENS = 1 << 21  # per message; as in QEMU
MAX_DEPTH = 1024  # open braces and brackets together; as in QEMU

_STRAY, _RESYNC = "stray", "resync"
_STRING, _INTEGER, _FLOAT, _KEYWORD, _PUNCTUATION = "string", "integer", "float", "keyword", "punctuation"
_START, _SKIP = "start", "skip"

_DIGITS = b"0123456789"
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_CONTROL_BUT_TAB = bytes(range(0x09)) + bytes(range(0x0A, 0x20))
_TEXT = bytes(range(0x20, 0xFE))

# Within quotes. A bound on the escapes bounds what the matcher remembers: it could go back to each of them.
_INSIDE = rb"[^%s\\\x00-\x1f\xfe\xff]*(?:\\[\x20-\xfd][^%s\\\x00-\x1f\xfe\xff]*){0,4096}"
_DOUBLE, _SINGLE = _INSIDE % (b'"', b'"'), _INSIDE % (b"'", b"'")

# state: (the bytes it skips, {next byte: state or outcome}, the outcome of any other byte)
_STATES: dict[str, tuple[bytes, dict[bytes, str], str]] = {
    _START: (
        rb"[ \t\r\n]*",
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
        _DOUBLE,
        {b'"': _STRING, b"\\": "double escape"},
        _STRAY,
    ),
    "double escape": (rb"", {_TEXT: "double"}, _STRAY),
    "single": (
        _SINGLE,
        {b"'": _STRING, b"\\": "single escape"},
        _STRAY,
    ),
    "single escape": (rb"", {_TEXT: "single"}, _STRAY),
    "minus": (rb"", {b"0": "zero", b"123456789": "digits"}, _STRAY),
    "zero": (rb"", {b".": "point", _DIGITS: _STRAY}, _INTEGER),
    "digits": (rb"[0-9]*", {b".": "point", b"eE": "exponent"}, _INTEGER),
    "point": (rb"", {_DIGITS: "fraction"}, _STRAY),
    "fraction": (rb"[0-9]*", {b"eE": "exponent"}, _FLOAT),
    "exponent": (rb"", {b"+-": "exponent sign", _DIGITS: "power"}, _STRAY),
    "exponent sign": (rb"", {_DIGITS: "power"}, _STRAY),
    "power": (rb"[0-9]*", {}, _FLOAT),
    "word": (rb"[a-z]*", {}, _KEYWORD),
    # After a stray byte: skip up to a byte with which a message may begin or end.
    _SKIP: (
        rb"[^\x00-\x08\x0a-\x1f\xfe\xff\[\]{}:,]*",
        {_CONTROL_BUT_TAB + b"\xfe\xff[]{}:,": _RESYNC},
        _SKIP,
    ),
}
_BETWEEN_TOKENS = frozenset({_START, _SKIP})
_TAKES_THE_BYTE = frozenset({_STRAY, _STRING, _PUNCTUATION})  # the other outcomes leave the byte to the next token

_RUN = {state: re.compile(run).match for state, (run, _, _) in _STATES.items()}


def _row(exits: dict[bytes, str], otherwise: str) -> list[str]:
    row = [otherwise] * 256
    for characters, outcome in exits.items():
        for byte in characters:
            row[byte] = outcome
    return row


_NEXT = {state: _row(exits, otherwise) for state, (_, exits, otherwise) in _STATES.items()}


# Up to MAX_RUN tokens that are complete wherever the piece ends, and the tokens of such a run.
MAX_RUN = 4096
STEP = 256  # tokens parsed at a time: a message may end before the run does, and the rest is not copied each time
_BLANK = rb"[ \t\r\n]*"
_QUOTED = rb"\"%s\"|'%s'" % (_DOUBLE, _SINGLE)
_BARE = (
    rb"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?)?|-?[1-9][0-9]*[eE][+-]?[0-9]+|[a-z]+)"
    rb"(?=[][{}:, \t\r\n\"'])"
)
_run_of_tokens = re.compile(rb"(?:%s(?:[][{}:,]|%s|%s)){0,%d}" % (_BLANK, _QUOTED, _BARE, MAX_RUN)).match
_tokens_of_run = re.compile(rb"[][{}:,]|%s|[^][{}:,\"' \t\r\n]+" % _QUOTED).findall


class Dialect:
    """The lexer of one peer's stream."""

    def __init__(self) -> None:
        self._state = _START
        self._held = bytearray()  # the token that the last piece left unfinished
        self._message = _Message()

    @property
    def idle(self) -> bool:
        """Whether no part of a message is held, so that the next bytes begin a new one."""
        return self._state == _START and not self._message.tokens

    def feed(self, data: bytes) -> Iterator[object]:
        """Yield the values that ``data`` completes, and a RequestError for each error, in order.

        It is lazy: exhaust it before the next call.
        """
        held, message = self._held, self._message
        pos = begin = 0  # `begin` is where the token, or its part in this piece, starts
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
                stray = complaint(b"stray '" + token.partition(b"\0")[0] + b"'")
                stray.flush = token == b"\xff" and not message.tokens
                message.clear()
                yield stray
            else:
                message.take([token], 0, len(token))
                if message.over:
                    result = message.result()
                    message.clear()
                    yield result


# The states of the parser: what may come next.
_TOP, _ITEM, _FIRST_ITEM, _KEY, _FIRST_KEY, _COLON, _MEMBER, _AFTER_ITEM, _AFTER_MEMBER = range(9)

_COMMA = {_AFTER_ITEM: _ITEM, _AFTER_MEMBER: _KEY}
_MISSING = {  # in any other state a value may come
    _COLON: b"missing : in object pair",
    _AFTER_ITEM: b"expected separator in list",
    _AFTER_MEMBER: b"expected separator in dict",
}


def _value(token: bytes) -> object:
    """Return the value of a token that is not punctuation. Raises RequestError."""
    if token[0] in b"\"'":
        return string(token)
    if token[0] in _LETTERS:
        return keyword(token)
    return number(token) if token.lstrip(b"-").isdigit() else float(token)


class _Message:
    """The parser of one top-level value. Once it is ``over``, ``result()`` returns the value or the error."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start with the next value."""
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
        """Return the value, or the RequestError that is in its place."""
        return self._value if self._error is None else self._error

    def take(self, tokens: Sequence[bytes], begin: int, size: int) -> int:
        """Take tokens from ``begin`` on, up to the one that ends the message, and return the position after it.

        Together they have at most ``size`` bytes. They are taken one by one near the message's limits.
        """
        end = len(tokens)
        if self._size + size >= MAX_SIZE or self.tokens + end - begin > MAX_TOKENS:
            end, size = begin + 1, len(tokens[begin])
            if self._size + size >= MAX_SIZE or self.tokens == MAX_TOKENS:
                return self._exceeds("token size" if self._size + size >= MAX_SIZE else "token count", end)
        alone = not self.tokens and tokens[begin] not in _DEPTH
        if alone:
            end = begin + 1
        position = begin
        while position < end and not self.over:
            count = self._count if self._error is not None else self._parse
            position = count(tokens, position, min(end, position + STEP))
        self.over |= alone
        self.tokens += position - begin
        self._size += sum(map(len, tokens[begin:position]))
        return position

    def _exceeds(self, limit: str, position: int) -> int:
        self._error, self.over = RequestError(f"JSON {limit} limit exceeded"), True
        return position

    def _count(self, tokens: Sequence[bytes], position: int, end: int) -> int:
        """Skip tokens after an error, up to the end of the message, and return the position after it."""
        for token in tokens[position:end]:
            position += 1
            if token in _DEPTH and self._ends(token, position):
                break
        return position

    def _ends(self, bracket: bytes, position: int) -> bool:
        """Count a bracket, and return whether it ends the message: none is open any more, or too many are."""
        braces, brackets = _DEPTH[bracket]
        self._braces += braces
        self._brackets += brackets
        if self._braces + self._brackets > MAX_DEPTH:
            self._exceeds("nesting depth", position)
        elif self._braces < 0 or self._brackets < 0 or self._braces == self._brackets == 0:
            self.over = True
        return self.over

    def _parse(self, tokens: Sequence[bytes], position: int, end: int) -> int:
        """Parse tokens up to the end of the message or the first error, and return the position after it.

        Its loop is most of the cost of many tokens. So open brackets are counted only after an error, and the rest of
        the message is then left to ``_count``.
        """
        at, container, key, outer = self._at, self._container, self._key, self._outer
        problem, misplaced = None, b""
        for token in tokens[position:end]:
            position += 1
            if token == b",":
                if at == _AFTER_ITEM:
                    at = _ITEM
                elif at == _AFTER_MEMBER:
                    at = _KEY
                else:
                    problem = complaint(_MISSING.get(at, b"expecting value"))
                    break
                continue
            if token == b":":
                if at != _COLON:
                    problem = complaint(_MISSING.get(at, b"expecting value"))
                    break
                at = _MEMBER
                continue
            value: object
            if token not in _DEPTH:
                if at in _MISSING:
                    problem = complaint(_MISSING[at])
                    break
                try:
                    value = _value(token)
                except RequestError as error:
                    problem = error.with_traceback(None)  # a traceback would keep its frames in memory
                    break
            elif token in _OPENS and at not in _MISSING and len(outer) < MAX_DEPTH:
                outer.append((container, at, key))
                container, at = ([], _FIRST_ITEM) if token == b"[" else ({}, _FIRST_KEY)
                continue
            elif token not in _OPENS and at in _CLOSES[token]:
                value = container
                container, at, key = outer.pop()
            else:
                misplaced, problem = token, complaint(_MISSING.get(at, b"expecting value"))
                break
            if at in (_ITEM, _FIRST_ITEM):
                container.append(value)
                at = _AFTER_ITEM
            elif at == _MEMBER:
                if key in container:
                    problem = complaint(b"duplicate key")
                    break
                container[key] = value
                at = _AFTER_MEMBER
            elif at == _TOP:
                self._value, self.over = value, True
                break
            elif isinstance(value, str):
                key, at = value, _COLON
            else:  # a key may be any value until it is complete
                problem = complaint(b"key is not a string in object")
                break
        self._at, self._container, self._key = at, container, key
        if problem is not None:
            self._error = problem
            opened = [part for part, _, _ in outer[1:]] + [container]
            self._braces, self._brackets = (sum(isinstance(part, kind) for part in opened) for kind in (dict, list))
            if misplaced:
                self._ends(misplaced, position)
        return position


_DEPTH = {b"{": (1, 0), b"}": (-1, 0), b"[": (0, 1), b"]": (0, -1)}  # braces and brackets that it opens
_OPENS = b"[", b"{"
_CLOSES = {b"]": (_FIRST_ITEM, _AFTER_ITEM), b"}": (_FIRST_KEY, _AFTER_MEMBER)}
