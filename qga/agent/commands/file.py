"""Reading and writing files of the guest by handle."""

from __future__ import annotations

import os

from qga.agent.context import Context, payload_room
from qga.agent.state import handles
from qga.protocol import base64
from qga.protocol.errors import CommandError

DEFAULT_COUNT = 4096  # bytes to read if the host does not give a count, as in QEMU

_WHENCE = {"set": os.SEEK_SET, "cur": os.SEEK_CUR, "end": os.SEEK_END}


def guest_file_open(ctx: Context, *, path: str, mode: str = "r") -> int:
    """Open a file with fopen(3)'s flags for the mode plus O_NONBLOCK, and return a new handle.

    If the policy checked the file, exactly that file is opened (``ctx.target``).
    """
    return ctx.files.open(path, mode, ctx.target)


def guest_file_close(ctx: Context, *, handle: int) -> None:
    """Close a handle; it is gone afterwards even if close(2) fails."""
    ctx.files.close(handle)


def guest_file_read(ctx: Context, *, handle: int, count: int = DEFAULT_COUNT) -> dict[str, object]:
    """Read up to ``count`` bytes from a handle, but no more than fit into a reply (``max-reply``): read(2).

    A FIFO or a terminal gives only the data that is available; the agent never waits for more.
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
    """Write the first ``count`` bytes of the data, or all of it, to a handle, unbuffered: write(2).

    A FIFO or a terminal may take only a part; the reply has the number of bytes written.
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
    """Move the offset of a handle. ``whence`` is a name, or the corresponding number of lseek(2)."""
    descriptor = ctx.files.descriptor(handle)
    origin = _WHENCE[whence] if isinstance(whence, str) else whence
    if origin not in _WHENCE.values():
        raise CommandError(f"invalid whence code {whence}")
    try:
        return {"position": os.lseek(descriptor, offset, origin), "eof": False}
    except OSError as error:
        raise CommandError(f"failed to seek file: {error.strerror}") from error


def guest_file_flush(ctx: Context, *, handle: int) -> None:
    """Check that the handle exists and do nothing else: the agent does not buffer writes."""
    ctx.files.descriptor(handle)
