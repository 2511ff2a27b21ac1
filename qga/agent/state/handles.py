"""The handles of guest-file-open: the files they stand for, and the counter that numbers them.

A handle is never used twice, so the counter is written to the disk before the host gets a handle. QEMU's agent keeps
its own counter in the same place, ``[global] fd_counter`` in STATEDIR/qga.state, so either agent continues where the
other stopped. If that file cannot be trusted, the counter continues from the clock, far beyond any number counted so
far. Writes are not buffered, so an error is reported with the write that caused it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import time
from typing import TYPE_CHECKING

from qga.agent.config import keyfile
from qga.agent.linux.cstring import c_string
from qga.agent.state import statefile
from qga.agent.state.statefile import DamagedError
from qga.protocol.errors import CommandError

if TYPE_CHECKING:
    from qga.agent.linux.pathwalk import Target

log = logging.getLogger(__name__)

FIRST_HANDLE = 1000  # as QEMU
STATE_FILE = "qga.state"
MAX_READ = 48 * 1024 * 1024  # bytes in one guest-file-read, as QEMU
NEW_FILE_MODE = 0o666  # regardless of the umask, as QEMU

_READ_CHUNK = 16 * 1024 * 1024  # bytes per read(2): a large count for a short file allocates no more than this

_REMOVED = " (deleted)"  # proc(5), /proc/pid/fd

# fopen(3)'s modes without their b, which means nothing on Linux.
_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "r+": os.O_RDWR,
    "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "a+": os.O_RDWR | os.O_CREAT | os.O_APPEND,
}
MODES = {
    spelling: flags for mode, flags in _FLAGS.items() for spelling in {mode, f"{mode}b", mode.replace("+", "b+")}
}


class OpenFile:
    """An open file. ``arguments`` are those of guest-file-open, defaults included."""

    def __init__(self, descriptor: int, path: str, mode: str, target: Target | None) -> None:
        self.descriptor = descriptor
        self.arguments = {"path": path, "mode": mode}
        self._opened_at = _place(descriptor) if target is None or target.path is None else target.path

    def place(self) -> str:
        """Return the file's real path: where it is now, or, if it was removed, where it was opened."""
        now = _place(self.descriptor)
        return now if now.startswith("/") and not now.endswith(_REMOVED) else self._opened_at


class FileTable:
    """The files that hosts have opened, by their handles."""

    def __init__(self, statedir: str | None = None, limit: int = 0) -> None:
        """Read the counter, and write nothing yet: the state directory may be frozen.

        Without a state directory the counter lives in memory. At most ``limit`` handles may be open at a time;
        0 means no limit.
        """
        self.limit = limit
        self._state = None if statedir is None else os.path.join(statedir, STATE_FILE)
        self._files: dict[int, OpenFile] = {}
        self._next, self._damaged = FIRST_HANDLE, False
        if self._state is not None:
            self._recall(self._state)
        if statedir is not None and not os.access(statedir, os.W_OK):
            log.warning("cannot write to %s: no file will be opened, and a freeze will leave no marker", statedir)

    def open(self, path: str, mode: str, target: Target | None = None) -> int:
        """Open a file and return its new handle: ``target`` if there is one, else ``path``. Raises CommandError."""
        flags = MODES.get(mode)
        if flags is None:
            raise CommandError(f"invalid file open mode '{mode}'")
        if self.limit and len(self._files) >= self.limit:
            raise CommandError(f"{self.limit} files are open already (max-handles): close one first")
        try:
            descriptor = _open(path, mode, flags | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC, target)
        except OSError as error:
            raise CommandError(f"failed to open file '{path}' (mode: '{mode}'): {error.strerror}") from error
        handle = self._next
        try:
            self._commit(handle + 1)
        except OSError as error:
            os.close(descriptor)
            raise CommandError("failed to commit persistent state to disk") from error
        self._next = handle + 1
        self._files[handle] = OpenFile(descriptor, path, mode, target)
        return handle

    def descriptor(self, handle: int) -> int:
        """Return the descriptor of a handle. Raises CommandError where the handle does not exist."""
        try:
            return self._files[handle].descriptor
        except KeyError:
            raise CommandError(f"handle '{handle}' has not been found") from None

    def opened(self) -> list[tuple[int, OpenFile]]:
        """Return every handle with its file."""
        return [*self._files.items()]

    def close(self, handle: int) -> None:
        """Close a handle, which is gone afterwards even if this raises CommandError."""
        descriptor = self.descriptor(handle)
        del self._files[handle]
        try:
            os.close(descriptor)
        except OSError as error:
            raise CommandError(f"failed to close handle: {error.strerror}") from error

    def repair(self) -> None:
        """Set a damaged state file aside and write a valid one. If that fails, ``open`` tries again."""
        if self._damaged:
            try:
                self._commit(self._next)
            except OSError as error:
                log.warning("cannot rewrite %s: %s", self._state, error.strerror)

    def _recall(self, state: str) -> None:
        """Continue counting where the previous agent stopped."""
        content = None
        try:
            content = statefile.read(state)
            if content is not None:
                self._next = _counter(content)
            elif statefile.was_set_aside(state):
                self._next = _beyond(b"")
        except DamagedError as error:
            self._next, self._damaged = _beyond(content or b""), True
            log.warning("%s %s: handles go on with %d, so that none is given twice", state, error, self._next)

    def _commit(self, counter: int) -> None:
        """Write the counter to the disk atomically: a power cut leaves the old or the new one. Raises OSError."""
        if self._state is None:
            return
        temporary = f"{self._state}.{os.getpid()}"
        try:
            with open(temporary, "wb") as file:
                file.write(b"[global]\nfd_counter=%d\n" % counter)
                file.flush()
                os.fsync(file.fileno())
            if self._damaged:
                log.warning("the damaged %s is kept as %s", self._state, statefile.set_aside(self._state))
                self._damaged = False
            os.rename(temporary, self._state)
            directory = os.open(os.path.dirname(self._state), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def read(descriptor: int, count: int) -> tuple[bytes, bool]:
    """Read up to ``count`` bytes; return them, and whether the end of the file was reached.

    A FIFO or terminal gives only what is available. Raises OSError only if nothing was read.
    """
    pieces: list[bytes] = []
    left = count
    while left:
        try:
            piece = os.read(descriptor, min(left, _READ_CHUNK))
        except OSError:
            if not pieces:
                raise
            break
        if not piece:
            return b"".join(pieces), True
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), False


def write(descriptor: int, data: bytes) -> int:
    """Write all, or as much as there is room for; return how many bytes. Raises OSError if there was no room."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            if len(rest) == len(data) or error.errno != errno.EAGAIN:
                raise
            break
    return len(data) - len(rest)


def _open(path: str, mode: str, flags: int, target: Target | None) -> int:
    """Open a file and return its descriptor. A new file gets NEW_FILE_MODE, an existing one keeps its mode.

    Raises OSError and CommandError.
    """
    name, directory = (c_string(path), None) if target is None else target.place()
    if target is not None:
        flags |= os.O_NOFOLLOW
    if not flags & os.O_CREAT:
        return os.open(name, flags, dir_fd=directory)
    try:
        descriptor = os.open(name, flags | os.O_EXCL, 0, dir_fd=directory)
    except FileExistsError:
        return os.open(name, flags & ~os.O_CREAT, dir_fd=directory)
    try:
        os.fchmod(descriptor, NEW_FILE_MODE)
    except OSError as error:
        os.close(descriptor)
        os.unlink(name, dir_fd=directory)
        raise CommandError(
            f"failed to set permission 0666 on new file '{path}' (mode: '{mode}'): {error.strerror}"
        ) from error
    return descriptor


def _place(descriptor: int) -> str:
    """Return the kernel's name for an open file: its real path, or a word such as "pipe:[7]"; proc(5)."""
    try:
        return os.fsdecode(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:
        return ""


def _counter(content: bytes) -> int:
    """Return ``fd_counter`` of a state file. Raises DamagedError."""
    try:
        entry = keyfile.parse(content).get("global", keyfile.Group()).get("fd_counter")
    except keyfile.KeyFileError as error:
        raise DamagedError(f"is damaged: {error}") from error
    if entry is None or not content.endswith(b"\n"):
        raise DamagedError("is cut short")
    # A handle travels as an int of the schema. QEMU's agent writes 32 bits, with a sign.
    if not re.fullmatch("-?[0-9]{1,18}", entry.raw) or (counter := int(entry.raw)) < -(2**32):
        raise DamagedError(f"is damaged: line {entry.line}: fd_counter: expected a number")
    return counter if counter >= 0 else counter + 2**32


def _beyond(content: bytes) -> int:
    """Return a handle that was never used, as far as can be known.

    No agent has opened a file every microsecond since 1970; and if the clock was set back, the remaining ``content``
    may have a higher number. The result is below 2**53: every JSON reader takes whole numbers up to there.
    """
    left = map(int, re.findall(rb"fd_counter=([0-9]{1,16})(?![0-9])", content))
    return max(FIRST_HANDLE, time.time_ns() // 1000, *(counter + 1 for counter in left if counter < 2**53))
