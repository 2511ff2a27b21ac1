"""Files of the guest, by handles."""

from __future__ import annotations

import os

from qga.agent.context import Context, payload_room
from qga.agent.state import handles
from qga.protocol import base64
from qga.protocol.errors import CommandError

DEFAULT_COUNT = 4096  # bytes read where the host does not say, as QEMU

_WHENCE = {"set": os.SEEK_SET, "cur": os.SEEK_CUR, "end": os.SEEK_END}


def guest_file_open(ctx: Context, *, path: str, mode: str = "r") -> int:
    """Open a file with the flags that fopen(3) has for the mode, and O_NONBLOCK, and return a new handle.

    Where the policy has judged the file, that very file is opened (``ctx.target``).
    """
    return ctx.files.open(path, mode, ctx.target)


def guest_file_close(ctx: Context, *, handle: int) -> None:
    """Close the descriptor of a handle, which is gone afterwards, also where close(2) fails."""
    ctx.files.close(handle)


def guest_file_read(ctx: Context, *, handle: int, count: int = DEFAULT_COUNT) -> dict[str, object]:
    """Read up to ``count`` bytes from a handle, and no more than fit into a reply (``max-reply``): read(2).

    What a FIFO or a terminal does not have yet is not waited for.
    """
    descriptor = ctx.files.descriptor(handle)
    if not 0 <= count <= handles.MAX_READ:
        raise CommandError(f"value '{count}' is invalid for argument count")
    try:
        data, eof = handles.read(descriptor, min(count, payload_room(ctx.config)))
    except OSError as error:
        raise CommandError(f"failed to read file: {error.strerror}") from error
    return {"count": len(data), "buf-b64": base64.encode(data), "eof": eof}


def guest_file_write(ctx: Context, *, handle: int, buf_b64: str, count: int | None = None) -> dict[str, object]:
    """Write the first ``count`` bytes of the data, or all, to a handle, without a buffer in between: write(2).

    A FIFO or a terminal without room for all of it takes a part: the reply has the number of bytes.
    """
    descriptor = ctx.files.descriptor(handle)
    data = base64.decode(buf_b64)
    if count is not None:
        if not 0 <= count <= len(data):
            raise CommandError(f"value '{count}' is invalid for argument count")
        data = data[:count]
    try:
        return {"count": handles.write(descriptor, data), "eof": False}
    except OSError as error:
        raise CommandError(f"failed to write to file: {error.strerror}") from error


def guest_file_seek(ctx: Context, *, handle: int, offset: int, whence: int | str) -> dict[str, object]:
    """Move the offset of a handle. ``whence`` is a name, or the number that lseek(2) has for it."""
    descriptor = ctx.files.descriptor(handle)
    origin = _WHENCE[whence] if isinstance(whence, str) else whence
    if origin not in _WHENCE.values():
        raise CommandError(f"invalid whence code {whence}")
    try:
        return {"position": os.lseek(descriptor, offset, origin), "eof": False}
    except OSError as error:
        raise CommandError(f"failed to seek file: {error.strerror}") from error


def guest_file_flush(ctx: Context, *, handle: int) -> None:
    """Check that the handle exists, and do nothing more: the agent does not buffer what it writes."""
    ctx.files.descriptor(handle)
