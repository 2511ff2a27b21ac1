"""Strict JSON (RFC 8259) by orjson where it is installed, else by the standard library.

The rule it keeps: both read and write the same. What one of them does not take is an error in both, and the caller
has a slower way.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from functools import partial

MAX_DEPTH = 1000  # what nests deeper is refused: orjson takes 1024, and the standard library what its stack holds
_MAX_DIGITS = 20  # of the longest integer in 64 bits


def _loads(text: bytes) -> object:
    """Return the value of a JSON text. Raises ValueError, also for numbers that a float of 64 bits cannot hold."""
    try:
        value: object = _decode(text.decode())
    except RecursionError:
        raise ValueError("it nests too deep") from None
    if b"\\u" in text:
        _encode(value).encode()  # raises UnicodeEncodeError for half a surrogate pair
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError("it nests too deep")
    return value


def _dumps(value: object) -> bytes:
    """Return a value as compact JSON with a newline. Raises TypeError or ValueError for what JSON does not have."""
    try:
        text = _encode(value)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    return text.encode() + b"\n"


def _integer(text: str) -> int | float:
    if len(text) <= _MAX_DIGITS and -(1 << 63) <= (value := int(text)) < 1 << 64:
        return value
    return _float(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("the number is too large")
    return value


def _constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


_decode = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant).decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode


def _depth(value: object) -> int:
    depth = 0
    level = [value]
    while level:
        containers = [part for part in level if isinstance(part, (dict, list))]
        level = [inner for part in containers for inner in (part.values() if isinstance(part, dict) else part)]
        depth += bool(containers)
    return depth


loads: Callable[[bytes], object] = _loads
dumps: Callable[[object], bytes] = _dumps
with contextlib.suppress(ImportError, AttributeError):  # it is not installed, or too old
    import orjson

    loads, dumps = orjson.loads, partial(orjson.dumps, option=orjson.OPT_APPEND_NEWLINE)
