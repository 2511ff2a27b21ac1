"""Block devices on either side of a copy, which are read, or written into from their beginning on, on request."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterator
from typing import BinaryIO

from qga.client.errors import ClientError, CommandFailed
from qga.client.operations import guest_tools
from qga.client.operations.files import File
from qga.client.operations.sending import Sending

_HASHER = "sha256sum"  # every guest has it that has any
_UNSYNCED = "it may not be on the disk yet: the guest has no sync"


def is_block(path: str) -> bool:
    """Return whether a path of this machine is a block device."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a block device of this machine; what was written is on the disk at the end.

    Raises OSError, EBUSY if it is mounted.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_EXCL | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "r+b", buffering=0) as file:
        if not stat.S_ISBLK(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a block device any more")
        yield file
        os.fsync(descriptor)


def must_fit(device: BinaryIO, size: int, path: str) -> None:
    """Raise OSError if a device has no room for ``size`` bytes, before anything is written."""
    room = device.seek(0, os.SEEK_END)
    device.seek(0)
    if size > room:
        raise OSError(_too_large(path, size, room))


async def write(source: Sending, path: str) -> None:
    """Write into a block device of the guest; nothing is created if it has disappeared."""
    check = guest_tools.Sum(_HASHER) if source.verify else None
    async with File(path, "r+") as target:
        room = await target.seek(0, os.SEEK_END)
        if source.size > room:
            raise ClientError(_too_large(path, source.size, room))
        await target.seek(0)
        await source.send(target, check and check.digest)
    outcome = source.outcome
    if not await guest_tools.sync(path):
        outcome.notes.append(f"{path}: {_UNSYNCED}")
    if check is not None:
        same = await _agrees(check, path, outcome.size)
        if same is False:
            raise ClientError(f"{path}: what was read back differs from what was written")
        outcome.verified = bool(same)
        outcome.note_missing(unverified=not same)


def refuse_by_name(path: str) -> None:
    """Raise CommandFailed for what may be a device by its name, where the guest cannot say what a file is."""
    if posixpath.normpath(path).startswith("/dev/"):
        why = f"{path} may be a device: stat(1) in the guest does not say what it is"
        raise CommandFailed("guest-file-open", why)


async def _agrees(check: guest_tools.Sum, path: str, size: int) -> bool | None:
    try:
        await check.start_of_beginning(path, size)
        return await check.agrees(size)
    except CommandFailed:
        return None
    finally:
        await check.abandon()


def _too_large(path: str, size: int, room: int) -> str:
    return f"{path} holds {room} bytes: expected no more, and these are {size}"
