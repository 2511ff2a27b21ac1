"""Files of the guest that grow: what they have got since they were last read is written on, by guest-file-* alone."""

from __future__ import annotations

import contextlib

from qga.client.client import Client
from qga.client.errors import ClientError
from qga.client.payload import payload, placed
from qga.tool import output

_CHUNK = 48 * 1024  # bytes of one read
_CHUNKS = 16  # reads at a time: a program that writes without end must not hide its end, or the time limit


class Follower:
    """Writes what a growing file of the guest has got since the last call of ``copy``."""

    def __init__(self, client: Client, path: str, target: output.Output, chunk: int = _CHUNK) -> None:
        """``chunk``: bytes of one read. Raises CommandFailed where the file cannot be opened."""
        self.client, self.path, self.chunk = client, path, chunk
        self.offset = 0  # of what is copied next
        self.handle = client.guest_file_open(path, "r")
        self._target = target

    def copy(self) -> bool:
        """Write what is new, up to _CHUNKS reads of it; return whether there was anything."""
        start = self.offset
        for _ in range(_CHUNKS):
            data = self.at(self.offset, self.chunk)  # QEMU's agent remembers the end without a seek
            if not data:
                break
            self._target.write(data)
            self.offset += len(data)
        if self.offset > start:
            self._target.flush()
        return self.offset > start

    def at(self, offset: int, count: int = 1) -> bytes:
        """Return what is at an offset: at most ``count`` bytes, or a chunk."""
        count = min(count, self.chunk)
        self.client.guest_file_seek(self.handle, offset, "set")
        reply = self.client.guest_file_read(self.handle, count)
        return payload(reply.buf_b64, reply.count, count)

    def close(self) -> None:
        """Close the file in the guest, as far as the agent still answers."""
        close(self.client, self.handle)


def size(client: Client, handle: int) -> int:
    """Return how many bytes an open file of the guest has. Raises CommandFailed for one that does not say."""
    return placed(client.guest_file_seek(handle, 0, "end").position)


def close(client: Client, handle: int) -> None:
    """Close a handle, as far as the agent still answers."""
    with contextlib.suppress(ClientError):
        client.guest_file_close(handle)
