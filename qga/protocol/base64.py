"""Base64 as QEMU's agent accepts it: only the alphabet is checked strictly.

Newlines are skipped, an incomplete quartet at the end is dropped, and a ``=`` ends only its quartet, not the text.
Strict base64, the common case, is decoded by pybase64.
"""

from __future__ import annotations

import binascii
import itertools

import pybase64

from qga.protocol.errors import CommandError

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_STAYS = bytes(character != ord("=") for character in range(256))


def encode(data: bytes) -> str:
    """Return bytes as base64, without newlines."""
    return pybase64.b64encode_as_string(data)


def decode(text: str) -> bytes:
    """Return the bytes that base64 text encodes. Raises CommandError for a character outside the alphabet."""
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return _decode_leniently(text)


def _decode_leniently(text: str) -> bytes:
    data = text.encode(errors="surrogatepass").replace(b"\n", b"")
    if data.translate(None, _ALPHABET):
        raise CommandError("Base64 data contains invalid characters")
    data = data[: len(data) // 4 * 4]
    if b"=" not in data:
        return pybase64.b64decode(data)
    # A ``=`` counts as zero bits, and in third or fourth place it removes the byte that it stands for.
    decoded = pybase64.b64decode(data.replace(b"=", b"A"))
    kept = bytearray(b"\1") * len(decoded)
    kept[1::3] = data[2::4].translate(_STAYS)
    kept[2::3] = data[3::4].translate(_STAYS)
    return bytes(itertools.compress(decoded, kept))
