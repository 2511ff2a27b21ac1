"""What a copy asks of the guest's own programs, by guest-exec: coreutils, and a POSIX shell to ask for much at once.

None, everywhere, where the agent may not run programs or the guest does not have them.
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
    """Of a file in the guest: ``size`` in bytes, ``mode`` as st_mode of stat(2), times in nanoseconds since 1970."""

    size: int
    mode: int
    accessed: int
    modified: int


class Sum:
    """A hash that both ends make: ``digest`` of what passes here, and a program of the guest, once it is started."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.digest: Any = _HASHES[program]()
        self._pid: int | None = None

    async def start(self, path: str) -> None:
        self._pid = await run.start([self.program, "--", path])

    async def start_of_beginning(self, path: str, size: int) -> None:
        """Of so many bytes of it."""
        script = 'head -c "$1" -- "$2" | "$3"'
        self._pid = await run.start(["sh", "-c", script, "sh", str(size), path, self.program])

    async def agrees(self, size: int) -> bool | None:
        """Whether both have the same; None if the program failed. ``size`` of the file, in bytes."""
        assert self._pid is not None
        pid = self._pid
        status = await run.wait(self.program, pid, PATIENCE + size / _HASH_RATE)
        self._pid = None
        if status.get("exitcode") != 0:
            return None
        theirs = run.output(status, "out-data").lstrip(b"\\").split(maxsplit=1)
        return theirs[:1] == [self.digest.hexdigest().encode()]

    async def abandon(self) -> None:
        """End the program if it still runs, as far as it goes."""
        if self._pid is not None:
            await run.kill(self._pid)
            self._pid = None


async def started_sum(path: str) -> Sum | None:
    """By the first program that the guest has."""
    for program in _HASHES:
        one = Sum(program)
        try:
            await one.start(path)
        except (CommandNotFound, CommandFailed):
            continue
        return one
    return None


def known(program: str) -> str:
    """The program, if it makes a hash that this end can make too; else ""."""
    return program if program in _HASHES else ""


async def look(path: str) -> Status | None:
    """What stat(1) says of a file in the guest; None if it cannot be had, or makes no sense, or there is no file."""
    done = await completed(["stat", "-L", "-c", "%s %f %.9X %.9Y %x %y", "--", path])
    told = _STATUS.fullmatch(done.stdout) if done else None
    if told is None:
        return None
    size, mode, accessed, modified, *fractions = told.groups()
    read, changed = map(_time, (accessed, modified), fractions)
    status = Status(int(size), int(mode, 16), read, changed)
    return status if status.size <= _MOST_BYTES and times.fit(status.accessed, status.modified) else None


def _time(seconds: bytes, fraction: bytes | None) -> int:
    """BusyBox's stat takes %.9X for %X, whole seconds, and has the fraction in %x only."""
    if b"." in seconds or fraction is None:
        return times.nanoseconds(seconds)
    return times.nanoseconds_of_find(seconds + b"." + fraction)


async def is_block_device(path: str) -> bool:
    status = await look(path)
    return status is not None and stat.S_ISBLK(status.mode)


async def sync(path: str) -> bool:
    """Have the guest write what it holds of a file to its disk; of all files, where its sync(1) knows no one file."""
    for words in (["sync", path], ["sync"]):
        done = await completed(words)
        if done is not None and done.returncode == 0:
            return True
    return False


async def completed(words: list[str], seconds: float = PATIENCE) -> run.Completed | None:
    """What came of a program of the guest that is given so long."""
    try:
        return await run.run(words, timeout=seconds)
    except (CommandNotFound, CommandFailed):
        return None
