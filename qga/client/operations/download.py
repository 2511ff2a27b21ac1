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
from typing import BinaryIO

from qga.client.errors import ClientError, CommandFailed
from qga.client.operations import devices, guest_tools, kinds, parts, transfer
from qga.client.operations.files import File
from qga.client.operations.outcome import Count, Outcome, Progress

MOST_BEYOND = 1 << 30  # bytes more than the file had at the beginning: one of /proc has none, a device has no end


async def download(
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
) -> Outcome:
    """Copy a file of the guest to this machine: to a path, or into a file that is open for writing bytes.

    ``progress`` is called as the copy grows. ``resume``: a copy that breaks leaves its part beside the target, and
    the next one goes on there. ``verify``: compare the hashes of both ends. ``preserve``: keep permissions and times;
    ``keep_setuid``: the setuid, setgid and sticky bits, too. ``dir_fd``: the target is a name in this open directory,
    and where that is a symbolic link it is replaced and not followed. ``device``: a block device is read, or written
    into, from its beginning on, where the one or the other path is of one.

    Raises OSError for this machine's files, ClientError for the rest.
    """
    if resume and not isinstance(target, str):
        raise ValueError("resume: expected the path of a file as target")
    begun = time.monotonic()
    status = await guest_tools.look(source)
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
        async with File(source) as file:
            sized = status is not None and stat.S_ISREG(status.mode)
            whole = status.size if status and sized else await file.seek(0, os.SEEK_END)
            receiving = _Receiving(file, whole, status, progress, verify)
            if isinstance(place, parts.Target):
                with parts.named(place.path):
                    await receiving.replace(place, resume, preserve, keep_setuid)
            else:
                if place is not target:
                    devices.must_fit(place, whole, str(target))
                await receiving.pass_on(place)
    receiving.outcome.seconds = time.monotonic() - begun
    return receiving.outcome


def _check(source: str, status: guest_tools.Status | None, device: bool) -> None:
    if status is not None:
        if why := kinds.refusal(source, status.mode, device=device):
            raise CommandFailed("guest-file-open", why)
    else:
        devices.refuse_by_name(source)


class _Receiving:
    """One file of the guest on its way to this machine.

    ``whole``: its size in bytes. ``status``: None where the guest has no stat(1).
    """

    def __init__(
        self, source: File, whole: int, status: guest_tools.Status | None, progress: Progress | None, verify: bool
    ) -> None:
        self.outcome = Outcome()
        self._source, self._whole, self._status = source, whole, status
        self._progress, self._verify = progress, verify

    async def replace(self, target: parts.Target, resume: bool, preserve: bool, keep_setuid: bool) -> None:
        """By a part beside it, once that is whole and right.

        Without ``preserve``, or where the source's mode is not known, the file that is replaced has the permissions.
        """
        status = self._status
        resume = resume and status is not None and stat.S_ISREG(status.mode)  # else it may be another each time
        named = (self._source.path, status.size, status.modified) if resume and status else ()
        part = target.part(parts.key(*named))
        try:
            with open(part.open(), "r+b", buffering=0) as file:
                self.outcome.resumed = min(os.fstat(file.fileno()).st_size, self._whole)
                file.truncate(self.outcome.resumed)
                same = await self._receive(file)
                if same is False and self.outcome.resumed:
                    self.outcome.resumed = 0
                    file.seek(0)
                    file.truncate()
                    same = await self._receive(file)
                if same is False:
                    resume = False
                self._judge(same, unkept=preserve and status is None)
                self.outcome.atomic = True
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

    async def pass_on(self, file: BinaryIO) -> None:
        """Copy into what is not replaced: a stream, or a device."""
        same = await self._receive(file)
        file.flush()
        self._judge(same)

    def _judge(self, same: bool | None, *, unkept: bool = False) -> None:
        """Raise ClientError if the hashes differ; else note what could not be had.

        ``same``: whether the hashes agree, None if unknown. ``unkept``: mode and times could not be kept.
        """
        if same is False:
            raise ClientError(f"{self._source.path}: the copy's hash differs: did the file change meanwhile?")
        self.outcome.verified = bool(same)
        self.outcome.note_missing(unverified=self._verify and not same, unkept=unkept)

    async def _receive(self, file: BinaryIO) -> bool | None:
        """Copy all behind ``outcome.resumed``, which the file has; return whether the hashes agree, None if unknown.

        The guest hashes while it is read: a file that changes meanwhile has another hash, and so it should.
        """
        check = await guest_tools.started_sum(self._source.path) if self._verify else None
        try:
            count = Count(self.outcome.resumed, self._whole, self._progress, check and check.digest, file)
            if self.outcome.resumed:
                count.hash_start(file)
            await self._source.seek(self.outcome.resumed)
            await transfer.fetch(self._source, lambda data: self._take(count, data))
            self.outcome.size = count.done
            return await check.agrees(count.done) if check else None
        finally:
            if check is not None:
                await check.abandon()

    def _take(self, count: Count, data: bytes) -> None:
        """Do not fill this machine's disk for a guest whose file never ends."""
        most = self._whole + MOST_BEYOND
        if count.done + len(data) > most:
            raise ClientError(
                f"{self._source.path} had {self._whole} bytes and gives more than {most}: "
                "expected a file that ends, and that nobody writes to meanwhile"
            )
        count.write(data)
