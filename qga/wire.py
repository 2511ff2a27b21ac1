"""Framing without I/O: bytes in, messages out; replies in, bytes out.

The common case, one well-formed request a line, takes the fast decoder; whatever that refuses, or might read
otherwise than QEMU does, goes to the dialect. The rule it keeps: both give the same messages, however the bytes were
cut into pieces.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator

import orjson

from qga.dialect import MAX_DEPTH, MAX_SIZE, MAX_TOKENS, Dialect

LONG = 4096  # bytes; a piece this long without a closing bracket is the middle of a payload: wait for its end

_REFUSED = object()

# An id may nest as deep as a request, and is encoded by recursion, some frames a level.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 8 * MAX_DEPTH))


class Decoder:
    """The requests of one peer."""

    def __init__(self) -> None:
        self._dialect = Dialect()
        self._deferred: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[object]:
        """The values that ``data`` completes, and a RequestError for each complaint, in order.

        Lazy: what follows a message is not looked at before the next is asked for. Run it to its end before feeding
        more. A request needs no newline. Of a long piece without closing bracket, complaints wait for its end.
        """
        if self._deferred:
            data = self._join(data)
            if not data:
                return
        position = 0
        while (end := data.find(b"\n", position) + 1) > 0:
            line = data[position:end]
            position = end
            yield from self._decode(line)
        rest = data[position:]
        if not rest:
            return
        if self._dialect.idle and LONG <= len(rest) < MAX_SIZE and not _may_end(rest):
            self._deferred, self._size = [rest], len(rest)
        elif rest.rstrip().endswith(b"}"):
            yield from self._decode(rest)
        else:
            yield from self._dialect.feed(rest)

    def _join(self, data: bytes) -> bytes:
        """All that was deferred with ``data``, or nothing while the end of the payload has not come.

        Only the new piece is searched, so that the cost of a byte does not grow with the request.
        """
        self._deferred.append(data)
        self._size += len(data)
        if self._size < MAX_SIZE and b"\n" not in data and not _may_end(data):
            return b""
        joined = b"".join(self._deferred)
        self._deferred.clear()
        return joined

    def _decode(self, text: bytes) -> Iterator[object]:
        """The messages of a line, or of a piece that ends in a closing brace."""
        if self._dialect.idle:
            value = _fast(text)
            if value is not _REFUSED:
                yield value
                return
        yield from self._dialect.feed(text)


def _may_end(piece: bytes) -> bool:
    """Whether a message can be over, or be broken off, within this piece of it."""
    return any(byte in piece for byte in (b"}", b"]", b"\xff", b"\xfe"))


def _fast(text: bytes) -> object:
    """The one value in ``text``, or ``_REFUSED`` if there is not just one, or QEMU might see another.

    Noncharacters, C0 80 and their like need a byte beyond ASCII or an escape. A key that comes twice, which QEMU
    refuses, needs more colons than the value has members; colons within strings only make it more. A float is left to
    the dialect, whose 0e1 is no number.
    """
    if len(text) >= MAX_SIZE or not text.isascii() or b"\\u" in text:
        return _REFUSED
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _REFUSED
    members, parts = 0, 0
    pending = [value]
    for part in pending:
        parts += 1
        if isinstance(part, dict):
            members += len(part)
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
        elif isinstance(part, float):
            return _REFUSED
    if members != text.count(b":") or parts * 4 > MAX_TOKENS:  # a part is at most a key, a colon, a value, a comma
        return _REFUSED
    return value


def encode(reply: object, *, delimited: bool = False) -> bytes:
    """One line of ASCII, after one byte 0xFF if ``delimited``.

    A lone surrogate (a byte that was no UTF-8) becomes U+FFFD, an infinite or undefined number null.
    """
    try:
        line = orjson.dumps(reply, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits
        line = b""
    if not line or not line.isascii():
        line = json.dumps(_encodable(reply)).encode() + b"\n"
    return b"\xff" + line if delimited else line


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
