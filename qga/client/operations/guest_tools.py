"""Programs of the guest that a copy runs by guest-exec: coreutils, and a POSIX shell for several at once.

Each function returns None where the agent may not run programs or the guest does not have them.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

from qga.client.errors import CommandFailed, CommandNotFound
from qga.client.operations import run, times

PATIENCE = 30.0  # seconds for any small program of the guest
_HASH_RATE = 20e6  # bytes a second: a guest that hashes slower than this is given up
_HASHES: dict[str, Callable[[], Any]] = {  # the first takes less than half as long
    "b2sum": hashlib.blake2b,
    "sha256sum": hashlib.sha256,
}

_STATUS = re.compile(
    rb"(\d{1,19}) ([0-9a-f]{1,4}) (-?\d{1,19}(?:\.\d{1,9})?) (-?\d{1,19}(?:\.\d{1,9})?)"
    rb"(?: [\d-]{1,20} [\d:]{1,9}\.(\d{1,9}) [\d+-]{1,6} [\d-]{1,20} [\d:]{1,9}\.(\d{1,9}) [\d+-]{1,6})?\n"
)
_MOST_BYTES = (1 << 63) - 1  # of a file: off_t


class Status(NamedTuple):
    """Size (bytes), mode (st_mode of stat(2)) and times (nanoseconds since 1970) of a file in the guest."""

    size: int
    mode: int
    accessed: int
    modified: int


class Sum:
    """A hash made on both sides: ``digest`` of what passes here, and a program of the guest, once it is started."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.digest: Any = _HASHES[program]()
        self._pid: int | None = None

    async def start(self, path: str) -> None:
        """Start hashing a whole file."""
        self._pid = await run.start([self.program, "--", path])

    async def start_of_beginning(self, path: str, size: int) -> None:
        """Hash only the first ``size`` bytes."""
        script = 'head -c "$1" -- "$2" | "$3"'
        self._pid = await run.start(["sh", "-c", script, "sh", str(size), path, self.program])

    async def agrees(self, size: int) -> bool | None:
        """Return whether both hashes agree, None if the program failed. ``size``: of the file, in bytes."""
        assert self._pid is not None
        pid = self._pid
        status = await run.wait(self.program, pid, PATIENCE + size / _HASH_RATE)
        self._pid = None
        if status.get("exitcode") != 0:
            return None
        theirs = run.output(status, "out-data").lstrip(b"\\").split(maxsplit=1)
        return theirs[:1] == [self.digest.hexdigest().encode()]

    async def abandon(self) -> None:
        """End the program if it still runs, as far as possible."""
        if self._pid is not None:
            await run.kill(self._pid)
            self._pid = None


async def started_sum(path: str) -> Sum | None:
    """Start the first hash program that the guest has."""
    for program in _HASHES:
        one = Sum(program)
        try:
            await one.start(path)
        except (CommandNotFound, CommandFailed):
            continue
        return one
    return None


def known(program: str) -> str:
    """Return the program if it makes a hash that this side can make, too; else ""."""
    return program if program in _HASHES else ""


async def look(path: str) -> Status | None:
    """Return what stat(1) says of a file in the guest; None if it fails or its output is not valid."""
    done = await completed(["stat", "-L", "-c", "%s %f %.9X %.9Y %x %y", "--", path])
    found = _STATUS.fullmatch(done.stdout) if done else None
    if found is None:
        return None
    size, mode, accessed, modified, *fractions = found.groups()
    read, changed = map(_time, (accessed, modified), fractions)
    status = Status(int(size), int(mode, 16), read, changed)
    return status if status.size <= _MOST_BYTES and times.fit(status.accessed, status.modified) else None


def _time(seconds: bytes, fraction: bytes | None) -> int:
    """Return nanoseconds. BusyBox's stat takes %.9X for %X, whole seconds, and has the fraction in %x only."""
    if b"." in seconds or fraction is None:
        return times.nanoseconds(seconds)
    return times.nanoseconds_of_find(seconds + b"." + fraction)


async def is_block_device(path: str) -> bool:
    """Return whether a path in the guest is known to be of a block device."""
    status = await look(path)
    return status is not None and stat.S_ISBLK(status.mode)


async def sync(path: str) -> bool:
    """Have the guest write the data of a file to its disk; return whether it did.

    Where its sync(1) takes no path, that is the data of all files.
    """
    for words in (["sync", path], ["sync"]):
        done = await completed(words)
        if done is not None and done.returncode == 0:
            return True
    return False


async def completed(words: list[str], seconds: float = PATIENCE) -> run.Completed | None:
    """Run a program of the guest that has so many seconds; return what came of it."""
    try:
        return await run.run(words, timeout=seconds)
    except (CommandNotFound, CommandFailed):
        return None
