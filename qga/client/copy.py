"""Copy one file between host and guest: pipelined, checked by hash, and the old file whole until the new one is.

Steps for ``Client.carry_out``, which ``Client.download`` and ``upload`` are. In the guest they use a shell and
coreutils by guest-exec; ``Outcome.notes`` says what cannot be had without them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qga.client import parts, programs, transfer
from qga.client.errors import ClientError, CommandFailed
from qga.client.steps import Ask, Steps

Progress = Callable[[int, int], None]  # bytes that are there, bytes of the whole

_UNVERIFIED = "not verified: the guest runs neither b2sum nor sha256sum"
_UNKEPT = "mode and times were not kept: the guest runs no program that tells or sets them"


@dataclass(slots=True)
class Outcome:
    """``size`` bytes in ``seconds``; the first ``resumed`` of them were there from an earlier try.

    ``verified``: the far end's hash is ours. ``atomic``: the target was at no time half a file. ``notes``: what
    could not be had, a sentence each.
    """

    size: int = 0
    seconds: float = 0.0
    resumed: int = 0
    verified: bool = False
    atomic: bool = False
    notes: list[str] = field(default_factory=list)


class _Count:
    """How much is there. Tells ``progress``; what passes goes into ``digest``, and into ``file`` if there is one."""

    def __init__(self, done: int, whole: int, progress: Progress | None, digest: Any, file: Any = None) -> None:
        self.done, self._whole = done, whole
        self._progress, self._digest, self._file = progress, digest, file

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.hash(data)
        self.add(len(data))

    def hash(self, data: bytes) -> None:
        if self._digest is not None:
            self._digest.update(data)

    def add(self, count: int) -> None:
        self.done += count
        if self._progress:
            self._progress(self.done, max(self.done, self._whole))


def download(
    source: str,
    target: str,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    verify: bool = True,
    preserve: bool = True,
) -> Steps[Outcome]:
    """From the guest's ``source`` to this machine's ``target``.

    ``resume``: a copy that breaks leaves its part beside the target, and the next one goes on there. ``preserve``:
    mode and times. Raises OSError for this machine's files, ClientError for the rest.
    """
    if os.path.isdir(target):
        raise IsADirectoryError(f"{target} is a directory: expected the name of a file")
    target = os.path.realpath(target)
    outcome, begun = Outcome(atomic=True), time.monotonic()
    status = yield from programs.look(source)
    if status is not None and status.directory:
        raise CommandFailed("guest-file-open", f"{source} is a directory")
    resume = resume and status is not None  # else nobody can tell whether it is the same file
    part = parts.beside(target, parts.key(source, status.size, status.modified) if resume and status else parts.key())
    handle = yield Ask("guest-file-open", {"path": source, "mode": "r"})
    try:
        with open(parts.opened(part), "r+b", buffering=0) as file:
            whole = status.size if status else (yield from transfer.seek(handle, 0, "end"))
            outcome.resumed = min(os.fstat(file.fileno()).st_size, whole)
            same = yield from _receive(handle, source, file, whole, outcome, progress, verify)
            if same is False and outcome.resumed:
                outcome.resumed = 0
                same = yield from _receive(handle, source, file, whole, outcome, progress, verify)
            if same is False:
                parts.remove(part)
                raise ClientError(f"{source}: the copy's hash is another: did the file change meanwhile?")
            outcome.verified = bool(same)
            _note_missing(outcome, verify and not same, preserve and status is None)
            if preserve and status is not None:
                os.fchmod(file.fileno(), status.mode)
                os.utime(file.fileno(), ns=(status.accessed, status.modified))
            else:
                os.fchmod(
                    file.fileno(), stat.S_IMODE(os.stat(target).st_mode) if os.path.exists(target) else _usual()
                )
        os.replace(part, target)
    except BaseException:
        if not resume:
            parts.remove(part)
        raise
    finally:
        yield from transfer.close_quietly(handle)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _receive(
    handle: int, source: str, file: io.FileIO, whole: int, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[bool | None]:
    """All behind ``outcome.resumed``. Whether the hashes agree; None if they could not be compared.

    The guest hashes while it is read: a file that changes meanwhile has another hash, and so it should.
    """
    check = (yield from programs.started_sum(source)) if verify else None
    try:
        file.truncate(outcome.resumed)
        count = _Count(outcome.resumed, whole, progress, check and check.digest, file)
        _hash_start(file, outcome.resumed, count)
        yield from transfer.seek(handle, outcome.resumed)
        yield from transfer.fetch(handle, count.write)
        outcome.size = count.done
        return (yield from check.agrees(count.done)) if check else None
    finally:
        if check is not None:
            yield from check.abandon()


def upload(
    source: str,
    target: str,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    verify: bool = True,
    preserve: bool = True,
) -> Steps[Outcome]:
    """From this machine's ``source`` to the guest's ``target``; as ``download``.

    Where the guest has no programs to rename by, the target itself is written, and a note says so.
    """
    outcome, begun = Outcome(), time.monotonic()
    with open(source, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ClientError(f"{source} is no regular file")
        identity = (os.path.realpath(source), status.st_size, status.st_mtime_ns) if resume else ()
        place = yield from programs.prepare(target, parts.key(*identity))
        if place is None:
            yield from _write_in_place(file, status.st_size, target, outcome, progress, verify)
            _note_missing(outcome, verify and not outcome.verified, preserve)
        else:
            yield from _write_beside(file, status, place, outcome, progress, resume, verify)
            mode = stat.S_IMODE(status.st_mode) if preserve else 0o644 if place.mode is None else place.mode
            try:
                outcome.notes += yield from programs.finish(place, mode, status.st_mtime_ns if preserve else None)
            except BaseException:
                yield from _removed(place.part)
                raise
            outcome.atomic = True
    outcome.seconds = time.monotonic() - begun
    return outcome


def _write_beside(
    file: io.FileIO,
    status: os.stat_result,
    place: programs.Place,
    outcome: Outcome,
    progress: Progress | None,
    resume: bool,
    verify: bool,
) -> Steps[None]:
    """Into the part, until it is whole and right."""
    outcome.resumed = place.there if place.there <= status.st_size else 0
    try:
        same = yield from _send_part(file, status.st_size, place, outcome, progress, verify)
        if same is False and outcome.resumed:
            outcome.resumed = 0
            same = yield from _send_part(file, status.st_size, place, outcome, progress, verify)
        if same is False:
            resume = False
            raise ClientError(f"{place.path}: the copy's hash is another: did {file.name!s} change meanwhile?")
        outcome.verified = bool(same)
        _note_missing(outcome, verify and not same, False)
    except BaseException:
        if not resume:
            yield from _removed(place.part)
        raise


def _send_part(
    file: io.FileIO, whole: int, place: programs.Place, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[bool | None]:
    check = programs.Sum(place.hasher) if verify and place.hasher else None
    handle = yield Ask("guest-file-open", {"path": place.part, "mode": "r+" if outcome.resumed else "w"})
    try:
        count = _Count(outcome.resumed, whole, progress, check and check.digest)
        _hash_start(file, outcome.resumed, count)
        if outcome.resumed:
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
    file: io.FileIO, whole: int, path: str, outcome: Outcome, progress: Progress | None, verify: bool
) -> Steps[None]:
    outcome.notes.append(f"{path} was written in place: the guest runs no program that could rename a whole copy")
    handle = yield Ask("guest-file-open", {"path": path, "mode": "w+"})
    try:
        ours, theirs = hashlib.blake2b(), hashlib.blake2b()
        count = _Count(0, whole, progress, ours)
        yield from transfer.send(file, handle, 0, count.hash, count.add)
        outcome.size = count.done
        yield Ask("guest-file-flush", {"handle": handle})
        if verify:  # no program in the guest that could: read it back
            yield from transfer.seek(handle, 0)
            yield from transfer.fetch(handle, theirs.update)
            outcome.verified = ours.digest() == theirs.digest()
            if not outcome.verified:
                raise ClientError(f"{path}: what was written reads back otherwise")
    except BaseException:
        yield from transfer.close_quietly(handle)
        raise
    yield Ask("guest-file-close", {"handle": handle})


def _removed(part: str) -> Steps[None]:
    with contextlib.suppress(ClientError):
        yield from programs.remove(part)


def _hash_start(file: io.FileIO, size: int, count: _Count) -> None:
    """Of what an earlier try has copied; the file stands behind it."""
    file.seek(0)
    left = size
    while left and (data := file.read(min(left, 1 << 20))):
        count.hash(data)
        left -= len(data)


def _note_missing(outcome: Outcome, unverified: bool, unkept: bool) -> None:
    if unverified:
        outcome.notes.append(_UNVERIFIED)
    if unkept:
        outcome.notes.append(_UNKEPT)


def _usual() -> int:
    """The mode of a new file."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
