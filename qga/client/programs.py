"""What a copy asks of the guest's own programs, by guest-exec: coreutils, and a POSIX shell to ask for much at once.

None, everywhere, where the agent may not run programs or the guest does not have them.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

from qga.client import running, times
from qga.client.errors import CommandFailed, CommandNotFound
from qga.client.steps import Steps

PATIENCE = 30.0  # seconds for any small program of the guest
_HASH_RATE = 20e6  # bytes a second: a guest that hashes slower than this is given up
_HASHES: dict[str, Callable[[], Any]] = {  # the first takes less than half as long
    "b2sum": hashlib.blake2b,
    "sha256sum": hashlib.sha256,
}

_STATUS = re.compile(rb"(\d{1,19}) ([0-9a-f]{1,4}) (-?\d{1,19}(?:\.\d{1,9})?) (-?\d{1,19}(?:\.\d{1,9})?)\n")
_MOST_BYTES = (1 << 63) - 1  # of a file: off_t

# The real target $t of $1, and the part beside it, $p.
_WHERE = r"""
t=$(readlink -f -- "$1" && echo x) && t=${t%?x} || t=$1
case $t in */*) d=${t%/*}/ ;; *) d= ;; esac
p=$d.$(printf %.200s "${t##*/}").$2.qga-part
"""

# The part is the agent's alone: begun now, or left by an earlier try.
_PREPARE = r"""
[ -d "$t" ] && { echo "$t is a directory" >&2; exit 1; }
[ -e "$t" ] && [ ! -f "$t" ] && { echo "$t is not a regular file" >&2; exit 1; }
n=0
if [ -f "$p" ] && [ ! -L "$p" ] && [ -O "$p" ] && [ "$(stat -c %a%h -- "$p")" = 6001 ]
then n=$(stat -c %s -- "$p")
else rm -f -- "$p" && (umask 077; set -C; : >"$p") || exit 1
fi
for h in b2sum sha256sum ''; do command -v $h >/dev/null && break; done
m=; [ -e "$t" ] && m=$(stat -c %a -- "$t")
printf '%s\0' "$n" "$h" "$m" "$t" "$p"
"""

# In its place, with what can be had of owner, mode ($3) and time ($4); what cannot is said.
_FINISH = r"""
[ -e "$2" ] && chown --reference="$2" -- "$1"
chmod "$3" -- "$1"
[ -z "$4" ] || touch -m -d "@$4" -- "$1"
mv -f -T -- "$1" "$2"
"""


_PLACE = re.compile(r"([0-9]{1,18})\0(b2sum|sha256sum|)\0([0-7]{1,4}|)\0([^\0]+)\0([^\0]+)\0")


class Status(NamedTuple):
    """Of a file in the guest: ``size`` in bytes, ``mode`` as st_mode of stat(2), times in nanoseconds since 1970."""

    size: int
    mode: int
    accessed: int
    modified: int


class Place(NamedTuple):
    """Where a copy goes: ``part``, of which ``there`` bytes are; it becomes ``path``. ``mode``: the old file's."""

    path: str
    part: str
    there: int
    mode: int | None
    hasher: str


class Sum:
    """A hash that both ends make: ``digest`` of what passes here, and a program of the guest, once it is started."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.digest: Any = _HASHES[program]()
        self._pid: int | None = None

    def start(self, path: str) -> Steps[None]:
        self._pid = yield from running.start([self.program, "--", path])

    def start_of_beginning(self, path: str, size: int) -> Steps[None]:
        """Of so many bytes of it."""
        script = 'head -c "$1" -- "$2" | "$3"'
        self._pid = yield from running.start(["sh", "-c", script, "sh", str(size), path, self.program])

    def agrees(self, size: int) -> Steps[bool | None]:
        """Whether both have the same; None if the program failed. ``size`` of the file, in bytes."""
        assert self._pid is not None
        pid = self._pid
        status = yield from running.wait(self.program, pid, PATIENCE + size / _HASH_RATE)
        self._pid = None
        if status.get("exitcode") != 0:
            return None
        theirs = running.output(status, "out-data").lstrip(b"\\").split(maxsplit=1)
        return theirs[:1] == [self.digest.hexdigest().encode()]

    def abandon(self) -> Steps[None]:
        """End the program if it still runs, as far as it goes."""
        if self._pid is not None:
            yield from running.kill(self._pid)
            self._pid = None


def started_sum(path: str) -> Steps[Sum | None]:
    """By the first program that the guest has."""
    for program in _HASHES:
        one = Sum(program)
        try:
            yield from one.start(path)
        except (CommandNotFound, CommandFailed):
            continue
        return one
    return None


def look(path: str) -> Steps[Status | None]:
    """What stat(1) says of a file in the guest; None if it cannot be had, or makes no sense, or there is no file."""
    done = yield from _program(["stat", "-L", "-c", "%s %f %.9X %.9Y", "--", path])
    told = _STATUS.fullmatch(done.stdout) if done else None
    if told is None:
        return None
    size, mode, accessed, modified = told.groups()
    status = Status(int(size), int(mode, 16), times.nanoseconds(accessed), times.nanoseconds(modified))
    return status if status.size <= _MOST_BYTES and times.fit(status.accessed, status.modified) else None


def prepare(target: str, key: str) -> Steps[Place | None]:
    """Raises CommandFailed where nothing can be written there."""
    try:
        done = yield from _program(["sh", "-c", _WHERE + _PREPARE, "sh", target, key])
    except BaseException:  # it may be there by now
        yield from _program(["sh", "-c", _WHERE + 'rm -f -- "$p"', "sh", target, key])
        raise
    if done is None:
        return None
    if done.returncode:
        why = _said(done).rpartition(": ")[2]  # before it: a line of the script, and the part's name
        raise CommandFailed("guest-file-open", f"{target}: {why}")
    told = _PLACE.fullmatch(done.stdout.decode(errors="surrogateescape"))
    if told is None:
        raise CommandFailed("guest-exec", f"{target}: the guest's sh did not say where a copy goes")
    there, hasher, mode, path, part = told.groups()
    return Place(path, part, int(there), int(mode, 8) if mode else None, hasher)


def finish(place: Place, mode: int, modified: int | None) -> Steps[list[str]]:
    """Put the part into its place, with mode and time (nanoseconds). A sentence for each thing that could not be."""
    when = "" if modified is None else times.seconds(modified)
    done = yield from _program(["sh", "-c", _FINISH, "sh", place.part, place.path, f"{mode:o}", when])
    if done is None or done.returncode:
        raise CommandFailed("guest-exec", _said(done) if done else "the guest runs no program any more")
    return [f"in the guest: {line}" for line in done.stderr.decode(errors="replace").splitlines()]


def is_block_device(path: str) -> Steps[bool]:
    status = yield from look(path)
    return status is not None and stat.S_ISBLK(status.mode)


def sync(path: str) -> Steps[bool]:
    """Have the guest write what it holds of a file to its disk; of all files, where its sync(1) knows no one file."""
    for words in (["sync", path], ["sync"]):
        done = yield from _program(words)
        if done is not None and done.returncode == 0:
            return True
    return False


def remove(path: str) -> Steps[None]:
    yield from _program(["rm", "-f", "--", path])


def _program(words: list[str]) -> Steps[running.Completed | None]:
    try:
        return (yield from running.run(words, None, None, PATIENCE, capture_output=True, text=False))
    except (CommandNotFound, CommandFailed):
        return None


def _said(done: running.Completed) -> str:
    said = " ".join(done.stderr.decode(errors="replace").split())
    return said.removeprefix("sh: ") or f"exit status {done.returncode}"
