"""The payload of guest-file-read and guest-file-write: decoded, and held to what was asked for."""

from __future__ import annotations

import os

from qga.client.errors import MalformedReply
from qga.client.reading import shown
from qga.protocol import base64

WHENCE = {os.SEEK_SET: "set", os.SEEK_CUR: "cur", os.SEEK_END: "end"}


def payload(encoded: str, count: int, asked: int) -> bytes:
    """Return the bytes of a guest-file-read of at most ``asked``, of which the reply says that they are ``count``.

    Raises MalformedReply.
    """
    data = decoded(encoded)
    if not len(data) == count <= asked:
        raise MalformedReply(
            "guest-file-read", f"expected at most {asked} bytes, got {len(data)} and a count of {count}"
        )
    return data


def written(count: int, sent: int) -> int:
    """Return how many of ``sent`` bytes a guest-file-write has written: at least one. Raises MalformedReply."""
    if not 0 < count <= sent:
        raise MalformedReply("guest-file-write", f"count: expected 1 to {sent}, got {count}")
    return count


def placed(position: int) -> int:
    """Return the position that a guest-file-seek has reached. Raises MalformedReply."""
    if position < 0:
        raise MalformedReply("guest-file-seek", f"position: expected one in the file, got {position}")
    return position


def decoded(text: str, command: str = "guest-file-read", member: str = "buf-b64") -> bytes:
    """Return the bytes of a base64 text. Raises MalformedReply for what is not base64."""
    try:
        data: bytes = base64.decode_strictly(text)
    except ValueError:
        raise MalformedReply(command, f"{member}: expected base64, got {shown(text)}") from None
    return data
