"""Copy one file of the guest to this machine: pipelined, checked by hash, and the old file whole until the new is.

Steps for ``Client.carry_out``, which ``Client.download`` is. In the guest they use coreutils by guest-exec;
``Outcome.notes`` says what cannot be had without them. What the guest says is checked before it decides about
anything here: how much is written, and what its mode and times are.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from dataclasses import dataclass
from typing import BinaryIO

from qga.client.errors import ClientError, CommandFailed
from qga.client.operations import devices, guest_tools, kinds, parts, transfer
from qga.client.operations.outcome import Count, Outcome, Progress, hash_start, note_missing
from qga.client.operations.requests import Ask, Steps

MOST_BEYOND = 1 << 30  # bytes more than the file had at the beginning: one of /proc has none, a device has no end


@dataclass(frozen=True, slots=True)
class _Source:
    """``whole``: its size in bytes. ``status``: None where the guest has no stat(1)."""

    path: str
    handle: int
    whole: int
    status: guest_tools.Status | None


def download(
    source: str,
    target: str | BinaryIO,
    *,
    dir_fd: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    verify: bool = True,
    preserve: bool = True,
    keep_setuid: bool = False,
    device: bool = False,
) -> Steps[Outcome]:
    """From the guest's ``source`` to this machine's ``target``: a path, or a file that is open for writing bytes.

    ``resume``: a copy that breaks leaves its part beside the target, and the next one goes on there. ``preserve``:
    permissions and times. ``keep_setuid``: the setuid, setgid and sticky bits, too. ``dir_fd``: the target is a name
    in this open directory, and where that is a symbolic link it is replaced and not followed. ``device``: a block
    device is read, or written into, from its beginning on, where the one or the other path is of one.

    Raises OSError for this machine's files, ClientError for the rest.
    """
    if resume and not isinstance(target, str):
        raise ValueError("resume: expected the path of a file as target")
    begun, outcome = time.monotonic(), Outcome()
    status = yield from guest_tools.look(source)
    _check(source, status, device)
    with contextlib.ExitStack() as stack:
        place: parts.Target | BinaryIO
        if not isinstance(target, str):
            place = target
        elif device and dir_fd is None and devices.is_block(target):
            place = stack.enter_context(devices.opened(target))
        else:
            place = stack.enter_context(parts.target(target, dir_fd))
            place.check()
        handle = yield Ask("guest-file-open", {"path": source, "mode": "r"})
        try:
            sized = status is not None and stat.S_ISREG(status.mode)
            whole = status.size if status and sized else (yield from transfer.seek(handle, 0, "end"))
            origin = _Source(source, handle, whole, status)
            if isinstance(place, parts.Target):
                with parts.named(place.path):
                    yield from _replace(origin, place, outcome, progress, resume, verify, preserve, keep_setuid)
            else:
                if place is not target:
                    devices.must_fit(place, whole, str(target))
                yield from _pass_on(origin, place, outcome, progress, verify)
        finally:
            yield from transfer.close_quietly(handle)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _check(source: str, status: guest_tools.Status | None, device: bool) -> None:
    if status is not None:
        if why := kinds.refusal(source, status.mode, device=device):
            raise CommandFailed("guest-file-open", why)
    else:
        devices.refuse_by_name(source)


def _replace(
    source: _Source,
    target: parts.Target,
    outcome: Outcome,
    progress: Progress | None,
    resume: bool,
    verify: bool,
    preserve: bool,
    keep_setuid: bool,
) -> Steps[None]:
    """By a part beside it, once that is whole and right.

    Without ``preserve``, or where the source's mode is not known, the file that is replaced has the permissions.
    """
    status = source.status
    resume = resume and status is not None and stat.S_ISREG(status.mode)  # else it may be another each time
    part = target.part(parts.key(source.path, status.size, status.modified) if resume and status else parts.key())
    try:
        with open(part.open(), "r+b", buffering=0) as file:
            outcome.resumed = min(os.fstat(file.fileno()).st_size, source.whole)
            file.truncate(outcome.resumed)
            same = yield from _receive(source, file, outcome, progress, verify)
            if same is False and outcome.resumed:
                outcome.resumed = 0
                file.seek(0)
                file.truncate()
                same = yield from _receive(source, file, outcome, progress, verify)
            if same is False:
                resume = False
                raise _differs(source.path)
            outcome.verified, outcome.atomic = bool(same), True
            note_missing(outcome, verify and not same, preserve and status is None)
            if preserve and status is not None:
                os.fchmod(file.fileno(), kinds.permissions(status.mode, keep_setuid))
                if stat.S_ISREG(status.mode):
                    os.utime(file.fileno(), ns=(status.accessed, status.modified))
            else:
                old = target.mode()
                new = parts.PRIVATE if preserve else parts.usual_mode()  # the source's is not known: no more open
                os.fchmod(file.fileno(), new if old is None else kinds.permissions(old, False))
        part.put()
    except BaseException:
        if not resume:
            part.remove()
        raise


def _pass_on(
    source: _Source, file: BinaryIO, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[None]:
    """Into what is not replaced: a stream, or a device."""
    same = yield from _receive(source, file, outcome, progress, verify)
    file.flush()
    if same is False:
        raise _differs(source.path)
    outcome.verified = bool(same)
    note_missing(outcome, verify and not same, False)


def _differs(path: str) -> ClientError:
    return ClientError(f"{path}: the copy's hash is another: did the file change meanwhile?")


def _receive(
    source: _Source, file: BinaryIO, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[bool | None]:
    """All behind ``outcome.resumed``, which the file has. Whether the hashes agree; None if nobody compared them.

    The guest hashes while it is read: a file that changes meanwhile has another hash, and so it should.
    """
    check = (yield from guest_tools.started_sum(source.path)) if verify else None
    try:
        count = Count(outcome.resumed, source.whole, progress, check and check.digest, file)
        if outcome.resumed:
            hash_start(file, outcome.resumed, count)
        yield from transfer.seek(source.handle, outcome.resumed)
        yield from transfer.fetch(source.handle, _Bounded(source, count).write)
        outcome.size = count.done
        return (yield from check.agrees(count.done)) if check else None
    finally:
        if check is not None:
            yield from check.abandon()


class _Bounded:
    """Does not fill this machine's disk for a guest whose file never ends."""

    def __init__(self, source: _Source, count: Count) -> None:
        self._source, self._count = source, count

    def write(self, data: bytes) -> None:
        most = self._source.whole + MOST_BEYOND
        if self._count.done + len(data) > most:
            raise ClientError(
                f"{self._source.path} had {self._source.whole} bytes and gives more than {most}: "
                "expected a file that ends, and that nobody writes to meanwhile"
            )
        self._count.write(data)
