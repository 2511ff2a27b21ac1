"""The tokens of QEMU's dialect of JSON: the value of a token's text, and the errors about it.

The rule it keeps: a token is read from its first byte to its last, and the error is about its first problem.
"""

from __future__ import annotations

import re

from qga.protocol import jsontext
from qga.protocol.errors import RequestError

MAX_COMPLAINT = 1023  # bytes after the prefix, as in QEMU: garbage is not echoed in full


def number(text: bytes) -> int | float:
    """Return the value of an integer literal: an int if 64 bits hold it, signed or unsigned, else a float."""
    # The longest that fits has 20 characters; int() refuses very long texts.
    if len(text) <= 20 and -(1 << 63) <= (value := int(text)) < 1 << 64:
        return value
    return float(text)


_WORDS: dict[bytes, bool | None] = {b"true": True, b"false": False, b"null": None}


def keyword(text: bytes) -> bool | None:
    """Return the value of true, false or null. Raises RequestError."""
    if text not in _WORDS:
        raise complaint(b"invalid keyword '" + text + b"'")
    return _WORDS[text]


# U+FDD0 to U+FDEF, and the last two of every plane
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)) + "]"
)
_ESCAPE = re.compile(
    rb"""\\(?:["'\\/bfnrt]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})"""
)
# Up to the first invalid escape, half a surrogate pair, or noncharacter, or to so many escapes that it is as well to
# begin anew: the matcher remembers each.
_SOUND = re.compile(
    rb"""[^\\]*(?:\\(?:
        ["'\\/bfnrt]
      | u(?![dD][89abAB][37bBfF][fF]\\u[dD][fF][fF][eEfF])[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
      | u(?![dD][89a-fA-F]|[fF][dD][dDeE]|[fF]{3}[eEfF])[0-9a-fA-F]{4}
    )[^\\]*){0,4096}""",
    re.VERBOSE,
)


def string(token: bytes) -> str:
    """Return the text of a quoted string. Raises RequestError.

    It takes no step of Python for each escape: a string may have four million of them.
    """
    if token[0] == ord('"'):
        # What is a string of RFC 8259 means the same here, except noncharacters.
        try:
            decoded = jsontext.loads(token)
        except ValueError:
            pass
        else:
            assert isinstance(decoded, str)
            if decoded.isascii() or not _NONCHARACTER.search(decoded):
                return decoded
    elif b"\\" not in token and (plain := _utf8(token[1:-1])) is not None:
        return plain
    end = _end_of_sound(token)
    sound = token[1:end]
    if _utf8(sound) is None:
        raise complaint(b"invalid UTF-8 sequence in string")
    if end < len(token) - 1:
        raise _complaint_about_escape(token, end)
    text = jsontext.loads(_as_rfc8259(sound))
    assert isinstance(text, str)
    return text


def _end_of_sound(token: bytes) -> int:
    end, begin = 1, 0
    while end > begin:
        begin = end
        sound = _SOUND.match(token, begin, len(token) - 1)
        assert sound is not None  # it may be empty
        end = sound.end()
    return end


def _as_rfc8259(text: bytes) -> bytes:
    """Return the same string in double quotes, without the escapes that only the dialect has; ``text`` is valid."""
    text = text.replace(rb"\\", rb"\u005c")  # from here on each backslash begins an escape
    text = text.replace(rb"\'", b"'").replace(rb"\"", b'"').replace(b'"', rb"\"")
    return b'"%s"' % text.replace(b"\xc0\x80", rb"\u0000")


def _utf8(text: bytes) -> str | None:
    """Decode modified UTF-8, and return None if it is not valid or has a noncharacter."""
    try:
        decoded = text.replace(b"\xc0\x80", b"\0").decode()
    except UnicodeDecodeError:
        return None
    return decoded if decoded.isascii() or not _NONCHARACTER.search(decoded) else None


def _complaint_about_escape(token: bytes, pos: int) -> RequestError:
    """Return the error about the invalid escape at ``pos``."""
    escape = _ESCAPE.match(token, pos, len(token) - 1)
    if escape is None and token[pos + 1] != ord("u"):
        return complaint(b"invalid escape sequence in string")
    shown = token[pos : pos + 6] if escape is None else escape.group()  # the closing quote may be part of it
    return complaint(shown + b" is not a valid Unicode character")


def complaint(text: bytes) -> RequestError:
    """Return an error of the parser, cut to MAX_COMPLAINT bytes; ``text`` may quote what was received."""
    return RequestError("JSON parse error, " + legible(text[:MAX_COMPLAINT]))


# One character, valid or not: a leading byte and up to as many continuation bytes as it announces.
_SEQUENCE = re.compile(
    rb"[\xc0-\xdf][\x80-\xbf]?|[\xe0-\xef][\x80-\xbf]{0,2}|[\xf0-\xf7][\x80-\xbf]{0,3}"
    rb"|[\xf8-\xfb][\x80-\xbf]{0,4}|[\xfc\xfd][\x80-\xbf]{0,5}|[\x80-\xbf\xfe\xff]"
)


def legible(text: bytes) -> str:
    """Decode bytes that may not be UTF-8, with one U+FFFD for each invalid sequence or noncharacter."""

    def repaired(sequence: re.Match[bytes]) -> bytes:
        character = _utf8(sequence.group())
        return b"\xef\xbf\xbd" if character is None else character.encode()

    return _SEQUENCE.sub(repaired, text).decode()
