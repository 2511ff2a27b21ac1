"""Copy one file of this machine to the guest: pipelined, checked by hash, and the old file whole until the new is.

Steps for ``Client.carry_out``, which ``Client.upload`` is; ``download`` has the other way. In the guest
they use a shell and coreutils by guest-exec; ``Outcome.notes`` says what cannot be had without them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from typing import BinaryIO

from qga.client import quoting
from qga.client.errors import ClientError
from qga.client.operations import devices, guest_tools, kinds, parts, placing, transfer
from qga.client.operations.files import File
from qga.client.operations.outcome import Count, Outcome, Progress
from qga.client.operations.sending import Sending

INSECURE = (
    "the agent runs no programs, or the guest has no sh: nobody can set the copy's mode, or see who may redirect it;"
    " --insecure (insecure=True) writes all the same, in place, a file that all may read and write if it is new"
)
_IN_PLACE = "no program could rename a whole copy; if it is new, all users of the guest may read and write it"


async def upload(
    source: str | BinaryIO,
    target: str,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    verify: bool = True,
    preserve: bool = True,
    keep_setuid: bool = False,
    device: bool = False,
    insecure: bool = False,
) -> Outcome:
    """Copy a file of this machine, a path or a file that is open for reading bytes, into the guest.

    The options are those of ``download``. Where the guest runs no programs, nobody can say what the target's mode is
    or set it, and who may change a directory on the way decides where that leads. That is refused with a ClientError,
    before anything is written; with ``insecure`` the target is written in place, and a note says so.
    """
    begun = time.monotonic()
    with _opened(source, device) as file:
        status = os.fstat(file.fileno()) if isinstance(source, str) else None
        sending = Sending(file, _size(file, status), progress, verify)
        outcome = sending.outcome
        if device and await guest_tools.is_block_device(target):
            await devices.write(sending, target)
        else:
            named = (os.path.realpath(str(source)), sending.size, status.st_mtime_ns) if resume and status else ()
            place = await placing.prepare(target, parts.key(*named))
            if place is None:
                devices.refuse_by_name(target)
                if not insecure:
                    raise ClientError(f"{quoting.shown(target)}: {INSECURE}", command="guest-exec")
                await _write_in_place(sending, target)
                outcome.note_missing(
                    unverified=verify and not outcome.verified, unkept=preserve and status is not None
                )
            else:
                await _write_beside(sending, place, resume)
                await _put(sending, place, status, preserve, keep_setuid)
    outcome.seconds = time.monotonic() - begun
    return outcome


@contextlib.contextmanager
def _opened(source: str | BinaryIO, device: bool) -> Iterator[BinaryIO]:
    """Open the source of a copy, or take the file that is open already.

    Raises OSError for what is not a file. A FIFO or a tape is refused before it is opened: that may wait, or wind it.
    """
    if not isinstance(source, str):
        yield source
        return
    _check(source, os.stat(source), device)
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        _check(source, os.fstat(descriptor), device)
        yield file


def _check(source: str, found: os.stat_result, device: bool) -> None:
    if why := kinds.refusal(source, found.st_mode, device=device):
        raise (IsADirectoryError if stat.S_ISDIR(found.st_mode) else OSError)(why)


def _size(file: BinaryIO, status: os.stat_result | None) -> int:
    """Return the size in bytes, 0 if it is not known."""
    if status is None or not stat.S_ISBLK(status.st_mode):
        return status.st_size if status else 0
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


async def _write_beside(source: Sending, place: placing.Place, resume: bool) -> None:
    """Into the part, until it is whole and right."""
    outcome = source.outcome
    outcome.resumed = place.there if place.there <= source.size else 0
    try:
        same = await _send_part(source, place)
        if same is False and outcome.resumed:
            outcome.resumed = 0
            source.file.seek(0)
            same = await _send_part(source, place)
        if same is False:
            resume = False
            raise ClientError(f"{place.path}: the copy's hash differs: did the file change meanwhile?")
        outcome.verified = bool(same)
        outcome.note_missing(unverified=source.verify and not same)
    except BaseException:
        if not resume:
            await _remove(place.part)
        raise


async def _send_part(source: Sending, place: placing.Place) -> bool | None:
    """Return whether the hashes agree; None if nobody compared them."""
    check = guest_tools.Sum(place.hasher) if source.verify and place.hasher else None
    async with File(place.part, "r+" if source.outcome.resumed else "w") as target:
        await source.send(target, check and check.digest)
    if check is None:
        return None
    try:
        await check.start(place.part)
        return await check.agrees(source.outcome.size)
    finally:
        await check.abandon()


async def _put(
    source: Sending, place: placing.Place, status: os.stat_result | None, preserve: bool, keep_setuid: bool
) -> None:
    """Give the part its mode and time, and its name. ``status``: of the source, None if it has no path."""
    mode = place.mode if place.mode is not None else 0o644 & (status.st_mode if status else 0o644)
    modified = None
    if preserve and status is not None:
        mode = kinds.permissions(status.st_mode, keep_setuid)
        modified = status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None
    try:
        source.outcome.notes += await placing.finish(place, source.outcome.size, mode, modified)
    except BaseException:
        await _remove(place.part)
        raise
    source.outcome.atomic = True


async def _write_in_place(source: Sending, path: str) -> None:
    """No program in the guest could hash it: to verify it is to read it back."""
    source.outcome.notes.append(f"{path} was written in place: {_IN_PLACE}")
    ours, theirs = hashlib.blake2b(), hashlib.blake2b()
    async with File(path, "w+") as target:
        await source.send(target, ours)
        if not source.verify:
            return
        await target.flush()
        await target.seek(0)
        back = Count(0, source.size, None, theirs)

        def take(data: bytes) -> None:
            back.hash(data)
            back.add(len(data))
            if back.done > source.outcome.size:  # it may have no end
                raise _differs(path)

        await transfer.fetch(target, take)
        source.outcome.verified = ours.digest() == theirs.digest()
        if not source.outcome.verified:
            raise _differs(path)


def _differs(path: str) -> ClientError:
    return ClientError(f"{path}: what was read back differs from what was written")


async def _remove(part: str) -> None:
    with contextlib.suppress(ClientError):
        await placing.remove(part)
