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

from qga.client.errors import ClientError
from qga.client.operations import devices, guest_tools, kinds, parts, placing, quoting, transfer
from qga.client.operations.outcome import Count, Outcome, Progress, hash_start, note_missing
from qga.client.operations.requests import Ask, Steps

INSECURE = (
    "the agent runs no programs, or the guest has no sh: nobody can set the copy's mode, or see who may redirect it;"
    " --insecure (insecure=True) writes all the same, in place, a file that all may read and write if it is new"
)
_IN_PLACE = "no program could rename a whole copy; if it is new, all users of the guest may read and write it"


def upload(
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
) -> Steps[Outcome]:
    """From this machine's ``source``, a path or a file that is open for reading bytes, to the guest's ``target``.

    The options are those of ``download``. Where the guest runs no programs, nobody can tell what the target's mode is
    or set it, and who may change a directory on the way decides where that leads. That is refused with a ClientError,
    before anything is written; with ``insecure`` the target is written in place, and a note says so.
    """
    outcome, begun = Outcome(), time.monotonic()
    with _opened(source, device) as file:
        status = os.fstat(file.fileno()) if isinstance(source, str) else None
        preserve = preserve and status is not None
        size = status.st_size if status else 0
        if status is not None and stat.S_ISBLK(status.st_mode):
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
        if device and (yield from guest_tools.is_block_device(target)):
            yield from devices.write(file, size, target, outcome, progress, verify)
        else:
            identity = (os.path.realpath(str(source)), size, status.st_mtime_ns) if resume and status else ()
            place = yield from placing.prepare(target, parts.key(*identity))
            if place is None:
                devices.refuse_by_name(target)
                if not insecure:
                    raise ClientError(f"{quoting.shown(target)}: {INSECURE}", command="guest-exec")
                yield from _write_in_place(file, size, target, outcome, progress, verify)
                note_missing(outcome, verify and not outcome.verified, preserve)
            else:
                yield from _write_beside(file, size, place, outcome, progress, resume, verify)
                mode = place.mode if place.mode is not None else 0o644 & (status.st_mode if status else 0o644)
                if preserve and status is not None:
                    mode = kinds.permissions(status.st_mode, keep_setuid)
                timed = preserve and status is not None and stat.S_ISREG(status.st_mode)
                modified = status.st_mtime_ns if timed and status is not None else None
                try:
                    outcome.notes += yield from placing.finish(place, outcome.size, mode, modified)
                except BaseException:
                    yield from _removed(place.part)
                    raise
                outcome.atomic = True
    outcome.seconds = time.monotonic() - begun
    return outcome


@contextlib.contextmanager
def _opened(source: str | BinaryIO, device: bool) -> Iterator[BinaryIO]:
    """Raises OSError for what is not a file; a FIFO or a tape is not opened, which may wait or wind it."""
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


def _write_beside(
    file: BinaryIO,
    size: int,
    place: placing.Place,
    outcome: Outcome,
    progress: Progress | None,
    resume: bool,
    verify: bool,
) -> Steps[None]:
    """Into the part, until it is whole and right."""
    outcome.resumed = place.there if place.there <= size else 0
    try:
        same = yield from _send_part(file, size, place, outcome, progress, verify)
        if same is False and outcome.resumed:
            outcome.resumed = 0
            file.seek(0)
            same = yield from _send_part(file, size, place, outcome, progress, verify)
        if same is False:
            resume = False
            raise ClientError(f"{place.path}: the copy's hash is another: did it change meanwhile?")
        outcome.verified = bool(same)
        note_missing(outcome, verify and not same, False)
    except BaseException:
        if not resume:
            yield from _removed(place.part)
        raise


def _send_part(
    file: BinaryIO, whole: int, place: placing.Place, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[bool | None]:
    check = guest_tools.Sum(place.hasher) if verify and place.hasher else None
    handle = yield Ask("guest-file-open", {"path": place.part, "mode": "r+" if outcome.resumed else "w"})
    try:
        count = Count(outcome.resumed, whole, progress, check and check.digest)
        if outcome.resumed:
            hash_start(file, outcome.resumed, count)
            yield from transfer.seek(handle, outcome.resumed)
        yield from transfer.send(file, handle, outcome.resumed, count.hash, count.add)
        outcome.size = count.done
        yield Ask("guest-file-flush", {"handle": handle})
    except BaseException:
        yield from transfer.close_quietly(handle)
        raise
    yield Ask("guest-file-close", {"handle": handle})
    if check is None:
        return None
    try:
        yield from check.start(place.part)
        return (yield from check.agrees(count.done))
    finally:
        yield from check.abandon()


def _write_in_place(
    file: BinaryIO, whole: int, path: str, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[None]:
    outcome.notes.append(f"{path} was written in place: {_IN_PLACE}")
    handle = yield Ask("guest-file-open", {"path": path, "mode": "w+"})
    try:
        ours, theirs = hashlib.blake2b(), hashlib.blake2b()
        count = Count(0, whole, progress, ours)
        yield from transfer.send(file, handle, 0, count.hash, count.add)
        outcome.size = count.done
        yield Ask("guest-file-flush", {"handle": handle})
        if verify:  # no program in the guest that could: read it back
            yield from transfer.seek(handle, 0)
            back = Count(0, whole, None, theirs)

            def take(data: bytes) -> None:
                back.hash(data)
                back.add(len(data))
                if back.done > count.done:  # it may have no end
                    raise _otherwise(path)

            yield from transfer.fetch(handle, take)
            outcome.verified = ours.digest() == theirs.digest()
            if not outcome.verified:
                raise _otherwise(path)
    except BaseException:
        yield from transfer.close_quietly(handle)
        raise
    yield Ask("guest-file-close", {"handle": handle})


def _otherwise(path: str) -> ClientError:
    return ClientError(f"{path}: what was written reads back otherwise")


def _removed(part: str) -> Steps[None]:
    with contextlib.suppress(ClientError):
        yield from placing.remove(part)
