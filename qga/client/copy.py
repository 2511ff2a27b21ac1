"""Copy one file between host and guest: pipelined, checked by hash, and the old file whole until the new one is.

Steps for ``Client.carry_out``, which ``Client.download`` and ``upload`` are. In the guest they use coreutils by
guest-exec (stat, sha256sum, install, chmod, touch, mv); ``Outcome.notes`` says what cannot be had without them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import secrets
import stat
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pybase64

from qga.client import running
from qga.client.errors import ClientError, CommandFailed, CommandNotFound, OutOfStep
from qga.client.files import decoded, limits
from qga.client.steps import Ask, Collect, Step, Steps, Submit, Ticket, Write

Progress = Callable[[int, int], None]  # bytes that are there, bytes of the whole
HASH_RATE = 20e6  # bytes a second: a guest that hashes slower than this is given up
PATIENCE = 30.0  # seconds for any small program of the guest


@dataclass(slots=True)
class Outcome:
    """``size`` bytes in ``seconds``; the first ``resumed`` of them were there from an earlier try.

    ``verified``: the far end's SHA-256 is ours. ``atomic``: the target was at no time half a file. ``notes``: what
    could not be had, a sentence each.
    """

    size: int = 0
    seconds: float = 0.0
    resumed: int = 0
    verified: bool = False
    atomic: bool = False
    notes: list[str] = field(default_factory=list)


class Status(NamedTuple):
    """Of a file in the guest: ``size`` in bytes, permissions, times in nanoseconds since 1970."""

    size: int
    mode: int
    accessed: int
    modified: int
    directory: bool


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
    outcome, start = Outcome(atomic=True), time.monotonic()
    status = yield from look(source)
    if status is not None and status.directory:
        raise CommandFailed("guest-file-open", f"{source} is a directory", "GenericError")
    handle = yield Ask("guest-file-open", {"path": source, "mode": "r"})
    part = _beside(target, resume)
    try:
        size = status.size if status else (yield from _seek(handle, 0, "end"))
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:
            while True:
                digest = hashlib.sha256()
                outcome.resumed = _hash_part(file, size, digest)
                yield from _seek(handle, outcome.resumed, "set")
                sink = _Sink(file, digest, outcome.resumed, size, progress)
                yield from _fetch(handle, sink)
                outcome.size = sink.done
                theirs = (yield from _sum(source, sink.done)) if verify else None
                outcome.verified = theirs == digest.hexdigest()
                if outcome.verified or theirs is None:
                    break
                _start_again(file)
                if not outcome.resumed:
                    raise ClientError(f"{source}: the copy's hash is another: did the file change meanwhile?")
            _note_missing(outcome, verify and not outcome.verified, preserve and status is None)
            if preserve and status is not None:
                os.fchmod(descriptor, status.mode)
                os.utime(descriptor, ns=(status.accessed, status.modified))
            elif os.path.exists(target):
                os.fchmod(descriptor, stat.S_IMODE(os.stat(target).st_mode))
            else:
                os.fchmod(descriptor, 0o666 & ~_umask())
        os.replace(part, target)
    except BaseException:
        if not resume:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
        raise
    finally:
        yield from _quietly(Ask("guest-file-close", {"handle": handle}))
    outcome.seconds = time.monotonic() - start
    return outcome


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
    outcome, start = Outcome(), time.monotonic()
    with open(source, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ClientError(f"{source} is no regular file")
        real = yield from _program(["readlink", "-f", "--", target])
        if real is None:
            yield from _write_directly(file, status.st_size, target, outcome, progress, verify=verify)
            _note_missing(outcome, verify and not outcome.verified, preserve)
        else:
            path = real.stdout.decode(errors="surrogateescape").removesuffix("\n") or target
            yield from _write_beside(file, status, path, outcome, progress, resume, verify, preserve)
    outcome.seconds = time.monotonic() - start
    return outcome


def look(path: str) -> Steps[Status | None]:
    """What stat(1) says of a file in the guest; None if it cannot be had, or there is no file."""
    done = yield from _program(["stat", "-L", "-c", "%s %a %.9X %.9Y %f", "--", path])
    try:
        size, mode, accessed, modified, raw = (done.stdout if done else b"").split()
        directory = stat.S_ISDIR(int(raw, 16))
        return Status(int(size), int(mode, 8), _nanoseconds(accessed), _nanoseconds(modified), directory)
    except ValueError:
        return None


def _write_beside(
    file: Any,
    status: os.stat_result,
    path: str,
    outcome: Outcome,
    progress: Progress | None,
    resume: bool,
    verify: bool,
    preserve: bool,
) -> Steps[None]:
    """Into a file of a temporary name, which is renamed once it is whole and right."""
    old = yield from look(path)
    if old is not None and old.directory:
        raise CommandFailed("guest-file-open", f"{path} is a directory")
    part = _beside(path, resume, join=posixpath.join, split=posixpath.split)
    there = (yield from look(part)) if resume else None
    try:
        if there is None:  # private from the beginning: guest-file-open makes files that all may read
            yield from _needed(["install", "-m", "600", "/dev/null", part])
        while True:
            outcome.resumed = min(there.size, status.st_size) if there else 0
            if there and there.size > status.st_size:
                outcome.resumed, there = 0, None
                yield from _needed(["install", "-m", "600", "/dev/null", part])
            handle = yield Ask("guest-file-open", {"path": part, "mode": "r+"})
            digest = hashlib.sha256()
            _hash_prefix(file, outcome.resumed, digest)
            try:
                yield from _seek(handle, outcome.resumed, "set")
                outcome.size = yield from _send(file, handle, digest, outcome.resumed, status.st_size, progress)
                yield Ask("guest-file-flush", {"handle": handle})
            except BaseException:
                yield from _quietly(Ask("guest-file-close", {"handle": handle}))
                raise
            yield Ask("guest-file-close", {"handle": handle})
            theirs = (yield from _sum(part, outcome.size)) if verify else None
            outcome.verified = theirs == digest.hexdigest()
            if outcome.verified or theirs is None:
                break
            yield from _needed(["install", "-m", "600", "/dev/null", part])
            if not outcome.resumed:
                raise ClientError(f"{path}: the copy's hash is another: did {file.name} change meanwhile?")
            there = None
        _note_missing(outcome, verify and not outcome.verified, False)
        yield from _finish(part, path, status, old, outcome, preserve)
    except BaseException:
        if not resume:
            with contextlib.suppress(ClientError):
                yield from _program(["rm", "-f", "--", part])
        raise


def _finish(
    part: str, path: str, status: os.stat_result, old: Status | None, outcome: Outcome, preserve: bool
) -> Steps[None]:
    mode = stat.S_IMODE(status.st_mode) if preserve else old.mode if old else 0o644
    todo = [["chmod", f"{mode:o}", part]]
    if old is not None:
        todo.insert(0, ["chown", f"--reference={path}", "--", part])
    if preserve:
        seconds, rest = divmod(status.st_mtime_ns, 10**9)
        todo.append(["touch", "-m", "-d", f"@{seconds}.{rest:09d}", "--", part])
    for words in todo:
        done = yield from _program(words)
        if done is None or done.returncode:
            said = done.stderr.decode(errors="replace").strip() if done else "the guest does not run it"
            outcome.notes.append(f"{words[0]} failed in the guest: {said}")
    yield from _needed(["mv", "-f", "-T", "--", part, path])
    outcome.atomic = True


def _write_directly(
    file: Any, size: int, path: str, outcome: Outcome, progress: Progress | None, *, verify: bool
) -> Steps[None]:
    outcome.notes.append(f"{path} was written in place: the guest runs no program that could rename a whole copy")
    handle = yield Ask("guest-file-open", {"path": path, "mode": "w+"})
    try:
        digest = hashlib.sha256()
        outcome.size = yield from _send(file, handle, digest, 0, size, progress)
        yield Ask("guest-file-flush", {"handle": handle})
        if verify:  # no sum in the guest: read it back
            yield from _seek(handle, 0, "set")
            sink = _Sink(None, hashlib.sha256(), 0, size, None)
            yield from _fetch(handle, sink)
            outcome.verified = sink.digest.digest() == digest.digest()
            if not outcome.verified:
                raise ClientError(f"{path}: what was written reads back otherwise")
    except BaseException:
        yield from _quietly(Ask("guest-file-close", {"handle": handle}))
        raise
    yield Ask("guest-file-close", {"handle": handle})


class _Sink:
    """Takes what was read, in order."""

    def __init__(self, file: Any, digest: Any, done: int, size: int, progress: Progress | None) -> None:
        self.digest, self.done = digest, done
        self._file, self._size, self._progress = file, size, progress

    def take(self, data: bytes) -> None:
        rest = memoryview(data)
        while self._file is not None and rest:
            rest = rest[self._file.write(rest) :]
        self.digest.update(data)
        self.done += len(data)
        if self._progress:
            self._progress(self.done, max(self.done, self._size))


def _fetch(handle: int, sink: _Sink) -> Steps[None]:
    """Read to the end of the file, several requests ahead: those behind the end return nothing."""
    limit = yield from limits()
    request = Submit("guest-file-read", {"handle": handle, "count": limit.read})
    tickets: deque[Ticket] = deque()
    try:
        ended = False
        while not ended:
            while len(tickets) < limit.window:
                tickets.append((yield request))
            reply = yield Collect(tickets.popleft())
            try:
                text, ended = reply["buf-b64"], reply["eof"] or not reply["count"]
            except (KeyError, TypeError):
                raise OutOfStep("guest-file-read: the reply lacks its members", command="guest-file-read") from None
            if text:
                sink.take(decoded(text))
    finally:
        yield from _drain(tickets)


def _send(file: Any, handle: int, digest: Any, start: int, size: int, progress: Progress | None) -> Steps[int]:
    """Write what the file holds from ``start``; returns where that ended."""
    limit = yield from limits()
    tickets: deque[tuple[Ticket, int]] = deque()
    done, ended = start, False
    try:
        while not ended or tickets:
            while not ended and len(tickets) < limit.window:
                data = file.read(limit.write)
                ended = not data
                if data:
                    digest.update(data)
                    tickets.append(((yield Write(handle, pybase64.b64encode(data))), len(data)))
            if tickets:
                ticket, count = tickets.popleft()
                written = (yield Collect(ticket))["count"]
                if written != count:
                    raise CommandFailed("guest-file-write", f"only {written} of {count} bytes were written")
                done += count
                if progress:
                    progress(done, max(done, size))
    finally:
        yield from _drain(ticket for ticket, _ in tickets)
    return done


def _drain(tickets: Any) -> Steps[None]:
    for ticket in tickets:
        yield from _quietly(Collect(ticket))


def _quietly(step: Step) -> Steps[None]:
    with contextlib.suppress(ClientError):
        yield step


def _seek(handle: int, offset: int, whence: str) -> Steps[int]:
    position: int = (yield Ask("guest-file-seek", {"handle": handle, "offset": offset, "whence": whence}))["position"]
    return position


def _sum(path: str, size: int) -> Steps[str | None]:
    """The guest's SHA-256 of a file, None where it has none."""
    done = yield from _program(["sha256sum", "--", path], PATIENCE + size / HASH_RATE)
    if done is None or done.returncode:
        return None
    return str(done.stdout.split(maxsplit=1)[0].lstrip(b"\\").decode())


def _program(words: list[str], timeout: float = PATIENCE) -> Steps[running.Completed | None]:
    """None if the agent may not run programs, or the guest does not have this one."""
    try:
        return (yield from running.run(words, None, None, timeout, capture_output=True, text=False))
    except (CommandNotFound, CommandFailed):
        return None


def _needed(words: list[str]) -> Steps[None]:
    done = yield from _program(words)
    if done is None or done.returncode:
        said = done.stderr.decode(errors="replace").strip() if done else f"the guest does not run {words[0]}"
        raise CommandFailed("guest-exec", said)


def _beside(path: str, resume: bool, join: Any = os.path.join, split: Any = os.path.split) -> str:
    """A name in the same directory; one that the next try finds if it may resume."""
    directory, name = split(path)
    return str(join(directory, f".{name[:200]}.qga-{'part' if resume else secrets.token_hex(6)}"))


def _hash_part(file: Any, size: int, digest: Any) -> int:
    """How much of an earlier try can be used; the file stands behind it."""
    there = os.fstat(file.fileno()).st_size
    if there > size:
        _start_again(file)
        return 0
    _hash_prefix(file, there, digest)
    return there


def _hash_prefix(file: Any, count: int, digest: Any) -> None:
    file.seek(0)
    left = count
    while left and (data := file.read(min(left, 1 << 20))):
        digest.update(data)
        left -= len(data)


def _start_again(file: Any) -> None:
    file.seek(0)
    file.truncate()


def _note_missing(outcome: Outcome, unverified: bool, unkept: bool) -> None:
    if unverified:
        outcome.notes.append("not verified: the guest runs no sha256sum")
    if unkept:
        outcome.notes.append("mode and times were not kept: the guest runs no program that tells or sets them")


def _nanoseconds(text: bytes) -> int:
    whole, _, rest = text.partition(b".")
    return int(whole) * 10**9 + (int(rest.ljust(9, b"0")[:9]) if rest else 0)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
