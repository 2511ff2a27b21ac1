"""Framing without I/O: bytes in, messages out; replies in, bytes out.

The fast decoder reads the common case, one well-formed request in a line. What it refuses, or might read in another
way than QEMU, the dialect reads. The rule it keeps: both give the same messages, however the bytes were cut into
pieces.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any

from qga.protocol import jsontext
from qga.protocol.dialect import MAX_DEPTH, MAX_SIZE, MAX_TOKENS, Dialect
from qga.protocol.errors import RequestError
from qga.protocol.tokens import legible

LONG = 4096  # bytes: a piece of this length without a closing bracket is within a payload, whose end is waited for

MAX_HEAD = 4096  # bytes that are kept of a message, as it may turn out not to be JSON

_REFUSED = object()

# An id may nest as deep as a request, and is encoded by recursion, with several frames for each level.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 8 * MAX_DEPTH))


class Decoder:
    """The decoder of the requests of one peer; another peer gets another decoder.

    ``size`` is the latest message's number of bytes. Of several in one line, the first gets all of the line's; a
    single 0xFF between two messages counts for neither.
    """

    def __init__(self) -> None:
        self.size = 0
        self._unclaimed = 0  # bytes of a message that has not ended
        self._head = b""  # their beginning
        self._dialect = Dialect()
        self._deferred = bytearray()

    def feed(self, data: bytes) -> Iterator[object]:
        """Yield the values that ``data`` completes, and a RequestError for each error, in order.

        It is lazy: what follows a message is not looked at before the next one is wanted. Exhaust it before the next
        call. A request needs no newline. The errors of a long piece without a closing bracket come with its end.
        """
        if self._deferred:
            data = self._join(data)
        elif self._dialect.idle and data.find(b"\n") == len(data) - 1 and (value := _fast(data)) is not _REFUSED:
            self.size = len(data)
            return iter((value,))
        return self._messages(data)

    def _messages(self, data: bytes) -> Iterator[object]:
        dialect = self._dialect
        position = 0
        while (end := data.find(b"\n", position) + 1) > 0:
            line = data[position:end]
            position = end
            if dialect.idle and (value := _fast(line)) is not _REFUSED:
                self.size = len(line)
                yield value
            else:
                yield from self._slowly(line)
        rest = data[position:]
        if not rest:
            return
        if not dialect.idle:
            yield from self._slowly(rest)
        elif LONG <= len(rest) < MAX_SIZE and not _may_end(rest):
            self._deferred += rest
        elif rest.endswith(b"}") and (value := _fast(rest)) is not _REFUSED:
            self.size = len(rest)
            yield value
        else:
            yield from self._slowly(rest)

    def _slowly(self, piece: bytes) -> Iterator[object]:
        self._unclaimed += len(piece)
        if len(self._head) < MAX_HEAD:
            self._head = (self._head + piece[: 2 * MAX_HEAD]).lstrip()[:MAX_HEAD]
        for value in self._dialect.feed(piece):
            if isinstance(value, RequestError):
                if value.flush:
                    self.size, self._unclaimed = 0, max(0, self._unclaimed - 1)
                    self._head = self._head.replace(b"\xff", b"", 1)
                    yield value
                    continue
                value.head = self._head.rstrip()
            self.size, self._unclaimed, self._head = self._unclaimed, 0, b""
            yield value

    def _join(self, data: bytes) -> bytes:
        """Return the deferred bytes and ``data``, or nothing while the end of the payload has not come.

        Only the new piece is searched, so that the cost of a byte does not grow with the request.
        """
        self._deferred += data
        if len(self._deferred) < MAX_SIZE and b"\n" not in data and not _may_end(data):
            return b""
        joined = bytes(self._deferred)
        self._deferred = bytearray()
        return joined


def _may_end(piece: bytes) -> bool:
    """Return whether a message can end, or be aborted, within this piece."""
    return b"}" in piece or b"]" in piece or b"\xff" in piece or b"\xfe" in piece


def _fast(text: bytes) -> object:
    """Return the only value in ``text``, or ``_REFUSED`` if there is another number of them or QEMU might differ.

    Noncharacters, C0 80 and the like take a byte beyond ASCII or an escape. A duplicate key, which QEMU refuses,
    shows by more colons in the text than the value has: one for each member, and those within strings. QEMU does not
    accept a number that begins with 0e.
    """
    if len(text) >= MAX_SIZE or not text.isascii():
        return _REFUSED
    if b"\\" in text and b"\\u" in text:  # a single byte is found much faster than two
        return _REFUSED
    try:
        value = jsontext.loads(text)
    except ValueError:
        return _REFUSED
    members = empty = 0
    is_float = False
    parts: list[Any] = [value]
    for part in parts:
        kind = type(part)
        if kind is dict:
            members += len(part)
            empty += not part
            parts.extend(part.values())
        elif kind is list:
            empty += not part
            parts.extend(part)
        elif kind is float:
            is_float = True
    if is_float and (b"0e" in text or b"0E" in text):
        return _REFUSED
    # A part has a token, two if it is a list or an object, and a comma, unless it is the first of its kind.
    if len(text) > MAX_TOKENS and 2 * len(parts) - 1 + empty + 2 * members > MAX_TOKENS:
        return _REFUSED
    colons = text.count(b":")
    return value if members == colons or members + _colons(parts) == colons else _REFUSED


def _colons(parts: list[object]) -> int:
    """Count the colons within strings and keys."""
    keys = [key for part in parts if isinstance(part, dict) for key in part]
    return sum(text.count(":") for text in (*keys, *parts) if isinstance(text, str))


def encode(reply: object, *, delimited: bool = False) -> bytes:
    """Encode a reply as one line of ASCII, after one byte 0xFF if ``delimited``.

    Bytes that were not UTF-8 (lone surrogates in a str) become U+FFFD, infinite numbers and NaN become null.
    """
    line = b""
    if not isinstance(reply, dict) or type(reply.get("id")) in _PLAIN_IDS:
        # A lone surrogate, or nesting that is too deep, is an error here: it is spelled below.
        with contextlib.suppress(TypeError, ValueError):
            line = jsontext.dumps(reply)
    if not line or not line.isascii():
        line = _spell(reply).encode() + b"\n"
    return b"\xff" + line if delimited else line


_PLAIN_IDS = frozenset((type(None), int, str))  # of a float, how it is spelled depends on the release of orjson
_NOTHING = object()


def _spell(value: object) -> str:
    """Return a value as JSON in ASCII, without recursion: an id may be nested deeper than Python's stack."""
    spelled: list[str] = []
    pending = [("", value)]  # from last to first: text, and the value that follows it
    while pending:
        text, item = pending.pop()
        spelled.append(text)
        if item is _NOTHING:
            continue
        if isinstance(item, dict):
            opening, closing = "{", "}"
            parts = [(f"{_atom(key)}:", part) for key, part in item.items()]
        elif isinstance(item, (list, tuple)):
            opening, closing = "[", "]"
            parts = [("", part) for part in item]
        else:
            spelled.append(_atom(item))
            continue
        spelled.append(opening)
        pending.append((closing, _NOTHING))
        pending.extend((f",{text}", part) for text, part in reversed(parts[1:]))
        pending.extend(parts[:1])
    return "".join(spelled)


def _atom(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(_sound(value))
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value)


def _sound(text: str) -> str:
    """Return a text with one U+FFFD in place of lone surrogates, for each sequence of bytes that was not UTF-8."""
    if not _SURROGATE.search(text):
        return text
    try:
        return legible(text.encode(errors="surrogateescape"))
    except UnicodeEncodeError:  # a surrogate that does not stand for a byte
        return legible(text.encode(errors="surrogatepass"))


_SURROGATE = re.compile("[\ud800-\udfff]")
