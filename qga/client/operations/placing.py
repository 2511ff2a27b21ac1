"""Put a file, or what a tree has beside files, into its place in the guest: ``scripts`` says how."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple

from qga.client import quoting
from qga.client.errors import ClientError, CommandFailed, OutOfStep
from qga.client.operations import guest_tools, parts, run, scripts, times

_BATCH = 100  # directories or links of one program in the guest
_COPY_RATE = 10e6  # bytes a second, where a part must be copied to another filesystem of the guest
_OURS = "qga: "  # before what a script of ours says
_PLACE = re.compile(r"(\d{1,18})\0([a-z0-9]*)\0([0-7]{0,4})\0(/[^\0]*)\0(/[^\0]*)\0", re.ASCII)


class Place(NamedTuple):
    """Where a copy goes: ``part``, of which ``there`` bytes are; it becomes ``path``. ``mode``: the old file's."""

    path: str
    part: str
    there: int
    mode: int | None
    hasher: str


async def prepare(target: str, key: str) -> Place | None:
    """Find a place for the part of a copy, out of reach for others in the guest; None where it has no sh.

    Raises CommandFailed where nothing can be written there.
    """
    name = part_name(target, key)
    try:
        done = await _script("prepare", target, name)
    except BaseException:  # it may be there by now
        await _script("remove", target, name)
        raise
    if done is None:
        return None
    if done.returncode:
        raise CommandFailed("guest-file-open", f"{quoting.shown(target)}: {_said(done)}")
    found = _PLACE.fullmatch(done.stdout.decode(errors="surrogateescape"))
    if found is None:
        raise OutOfStep(f"guest-exec: the guest's answer about a part for {quoting.shown(target)} is not valid")
    there, hasher, mode, path, part = found.groups()
    return Place(path, part, int(there), int(mode, 8) if mode else None, guest_tools.known(hasher))


def part_name(target: str, key: str) -> str:
    """Return a name of ASCII, which any agent takes, and of its own for each target: they may share a directory."""
    label = re.sub(r"[^\w.-]", "_", posixpath.basename(target), flags=re.ASCII)[:100]
    return f".{label}.{key}{parts.key(target)[:6]}.qga-part"


async def finish(place: Place, size: int, mode: int, modified: int | None) -> list[str]:
    """Move the part into its place, with mode and time (nanoseconds); return a sentence for each thing that failed.

    ``size`` in bytes, for how long it may take.
    """
    when = "" if modified is None else times.seconds(modified)
    seconds = guest_tools.PATIENCE + size / _COPY_RATE
    done = await _script("finish", place.path, place.part, f"{mode:o}", when, seconds=seconds)
    if done is None or done.returncode:
        raise CommandFailed("guest-exec", _said(done) if done else "the guest runs no program any more")
    return _notes(done)


async def remove(part: str) -> None:
    """Remove a part in the guest, if it is there and the guest has rm(1)."""
    await guest_tools.completed(["rm", "-f", "--", part])


async def tidy(directories: Sequence[str]) -> None:
    """Remove what copies left in these directories of the guest, if none has been continued for a day."""
    for start in range(0, len(directories), _BATCH):
        await _script("tidy", *directories[start : start + _BATCH])


async def change_tree(script: str, items: Sequence[Sequence[str]]) -> list[str]:
    """Run one of ``directories``, ``links`` and ``settle``; return a sentence for each thing that failed.

    ``items``: the words for each directory or link, the last its path.
    """
    notes: list[str] = []
    for start in range(0, len(items), _BATCH):
        words = [word for item in items[start : start + _BATCH] for word in item]
        done = await _script(script, *words)
        if done is None:
            raise ClientError("in the guest: directories are made where the agent runs programs, and there is a sh")
        if done.returncode:
            raise ClientError(f"in the guest: {_said(done)}")
        notes += _notes(done)
    return notes


async def _script(name: str, *words: str, seconds: float = guest_tools.PATIENCE) -> run.Completed | None:
    ascii_only = "" if all(map(quoting.is_sayable, words)) else "ascii=yes\n"
    return await guest_tools.completed(["sh", "-c", ascii_only + scripts.text(name), "sh", *words], seconds)


def _said(done: run.Completed) -> str:
    """Return what a script says itself; else the reason that one of its programs gives."""
    lines = done.stderr.decode(errors="surrogateescape").splitlines()
    ours = [line.removeprefix(_OURS) for line in lines if line.startswith(_OURS)]
    said = " ".join(ours or [line.rpartition(": ")[2] for line in lines])
    return quoting.shown(said) or f"exit status {done.returncode}"


def _notes(done: run.Completed) -> list[str]:
    lines = done.stderr.decode(errors="surrogateescape").splitlines()
    return [f"in the guest: {quoting.shown(line.removeprefix(_OURS))}" for line in lines]
