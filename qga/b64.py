"""Base64 as QEMU's agent takes it: lenient in all but its alphabet.

Newlines are skipped, an incomplete quartet at the end is dropped, and a ``=`` ends its quartet, not the text. Strict
base64, the common case, is left to pybase64.
"""

from __future__ import annotations

import binascii

import pybase64

from qga.errors import CommandError

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def encode(data: bytes) -> str:
    return pybase64.b64encode_as_string(data)


def decode(text: str) -> bytes:
    """Raises CommandError for a character that base64 does not have."""
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
    return b"".join(_quartet(data[at : at + 4]) for at in range(0, len(data), 4))


def _quartet(quartet: bytes) -> bytes:
    """Three bytes, less the one that a ``=`` stands for in third or fourth place; a ``=`` counts as zero bits."""
    three = pybase64.b64decode(quartet.replace(b"=", b"A"))
    return three[:1] + (b"" if quartet[2:3] == b"=" else three[1:2]) + (b"" if quartet[3:] == b"=" else three[2:])
