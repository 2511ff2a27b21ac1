"""Block devices on either side of a copy: read, or written into from the beginning on, where that is asked for."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterator
from typing import BinaryIO

from qga.client.errors import ClientError, CommandFailed
from qga.client.operations import guest_tools, transfer
from qga.client.operations.outcome import Count, Outcome, Progress, note_missing
from qga.client.operations.requests import Ask, Steps

_HASHER = "sha256sum"  # every guest has it that has any
_UNSYNCED = "it may not be on the disk yet: the guest has no sync"


def is_block(path: str) -> bool:
    """On this machine."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """One of this machine; what was written is on the disk at the end. Raises OSError, EBUSY if it is mounted."""
    descriptor = os.open(path, os.O_RDWR | os.O_EXCL | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "r+b", buffering=0) as file:
        if not stat.S_ISBLK(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a block device any more")
        yield file
        os.fsync(descriptor)


def must_fit(device: BinaryIO, size: int, path: str) -> None:
    """Raises OSError, before anything is written."""
    room = device.seek(0, os.SEEK_END)
    device.seek(0)
    if size > room:
        raise OSError(_too_large(path, size, room))


def write(
    file: BinaryIO, size: int, path: str, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[None]:
    """Into one of the guest, which is opened so that nothing is made where it is gone. ``size``: 0 if not known."""
    handle = yield Ask("guest-file-open", {"path": path, "mode": "r+"})
    check = guest_tools.Sum(_HASHER) if verify else None
    try:
        room = yield from transfer.seek(handle, 0, "end")
        if size > room:
            raise ClientError(_too_large(path, size, room))
        yield from transfer.seek(handle, 0)
        count = Count(0, size, progress, check and check.digest)
        yield from transfer.send(file, handle, 0, count.hash, count.add)
        outcome.size = count.done
        yield Ask("guest-file-flush", {"handle": handle})
    except BaseException:
        yield from transfer.close_quietly(handle)
        raise
    yield Ask("guest-file-close", {"handle": handle})
    if not (yield from guest_tools.sync(path)):
        outcome.notes.append(f"{path}: {_UNSYNCED}")
    if check is not None:
        same = yield from _agrees(check, path, count.done)
        if same is False:
            raise ClientError(f"{path}: what was written reads back otherwise")
        outcome.verified = bool(same)
        note_missing(outcome, not same, False)


def refuse_by_name(path: str) -> None:
    """Where the guest cannot say what a file is: raises CommandFailed for one that may well be a device."""
    if posixpath.normpath(path).startswith("/dev/"):
        why = f"{path} may be a device: stat(1) in the guest does not say what it is"
        raise CommandFailed("guest-file-open", why)


def _agrees(check: guest_tools.Sum, path: str, size: int) -> Steps[bool | None]:
    try:
        yield from check.start_of_beginning(path, size)
        return (yield from check.agrees(size))
    except CommandFailed:
        return None
    finally:
        yield from check.abandon()


def _too_large(path: str, size: int, room: int) -> str:
    return f"{path} holds {room} bytes: expected no more, and these are {size}"
