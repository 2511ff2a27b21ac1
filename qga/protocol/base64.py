"""Base64 as QEMU's agent accepts it: only the alphabet is checked strictly.

Newlines are skipped, an incomplete quartet at the end is dropped, and a ``=`` ends only its quartet, not the text.
Strict base64, the common case, is decoded by pybase64 where it is installed.
"""

from __future__ import annotations

import binascii
import contextlib
import itertools
from collections.abc import Callable
from functools import partial

from qga.protocol.errors import CommandError

_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ALPHABET = _DIGITS + b"="
_STAYS = bytes(character != ord("=") for character in range(256))


def _encode(data: bytes | memoryview) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _decode(text: str) -> bytes:
    """Return the bytes that strict base64 encodes. Raises ValueError."""
    data = text.encode("ascii")
    if len(data) % 4 or data.rstrip(b"=").translate(None, _DIGITS) or data.endswith(b"==="):
        raise ValueError("it is not strict base64")
    return binascii.a2b_base64(data)


decode_strictly: Callable[[str], bytes] = _decode
encode: Callable[[bytes | memoryview], str] = _encode
encode_bytes: Callable[[bytes], bytes] = partial(binascii.b2a_base64, newline=False)
with contextlib.suppress(ImportError, AttributeError):  # it is not installed, or too old
    import pybase64

    decode_strictly = partial(pybase64.b64decode, validate=True)
    encode, encode_bytes = pybase64.b64encode_as_string, pybase64.b64encode


def decode(text: str) -> bytes:
    """Return the bytes that base64 text encodes. Raises CommandError for a character outside the alphabet."""
    try:
        return decode_strictly(text)
    except ValueError:  # which binascii.Error is, too
        return _decode_leniently(text)


def _decode_leniently(text: str) -> bytes:
    data = text.encode(errors="surrogatepass").replace(b"\n", b"")
    if data.translate(None, _ALPHABET):
        raise CommandError("Base64 data contains invalid characters")
    data = data[: len(data) // 4 * 4]
    if b"=" not in data:
        return binascii.a2b_base64(data)
    # A ``=`` counts as zero bits, and in third or fourth place it removes the byte that it stands for.
    decoded = binascii.a2b_base64(data.replace(b"=", b"A"))
    kept = bytearray(b"\1") * len(decoded)
    kept[1::3] = data[2::4].translate(_STAYS)
    kept[2::3] = data[3::4].translate(_STAYS)
    return bytes(itertools.compress(decoded, kept))
