"""What a guest lists of a directory tree, which may be anything: all of it is checked before anything is made.

A listing is what ``FORMAT`` has find(1) write. What comes out of ``parse`` is a tree: one root, a directory, and
below it entries that are listed once each, behind the directory that they are in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qga.client.errors import ClientError
from qga.client.operations import times

FORMAT = r"%y\0%m\0%T@\0%l\0%P\0"  # type, mode, time of change, where a link leads, name below the root
MAX_BYTES = 16 << 20  # of a listing: no agent captures more of a program
MAX_ENTRIES = 500_000  # as many as a listing of that size has with the shortest names
MAX_NAME, MAX_PATH = 255, 4095  # bytes: limits.h, NAME_MAX and PATH_MAX without the NUL

_MEMBERS = 5
_KIND = re.compile(rb"[a-zA-Z?]")
_MODE = re.compile(rb"[0-7]{1,4}")
_TIME = re.compile(rb"-?\d{1,19}(\.\d{1,10})?")


class Entry(NamedTuple):
    """``kind``: find's letter, d, f or l, or another for what is not copied. ``modified``: nanoseconds since 1970.

    ``name``: below the root, parts between slashes, "" for the root itself. Bytes that are not UTF-8 are surrogates,
    in it and in ``leads``, the text of a link.
    """

    kind: str
    mode: int
    modified: int
    leads: str
    name: str


def parse(source: str, listing: bytes) -> list[Entry]:
    """Return the entries of a listing. Raises ClientError, which says what is wrong with it."""
    if len(listing) > MAX_BYTES:
        raise ClientError(f"{source}: the guest's list of it is too long: more than {MAX_BYTES >> 20} MiB")
    words = listing.split(b"\0")
    if words.pop() or not words or len(words) % _MEMBERS:
        raise ClientError(f"{source}: the guest's list of it is incomplete")
    if len(words) > MAX_ENTRIES * _MEMBERS:
        raise ClientError(f"{source}: the guest's list of it is too long: more than {MAX_ENTRIES} entries")
    entries: list[Entry] = []
    listed: dict[str, str] = {}
    for at in range(0, len(words), _MEMBERS):
        kind, mode, modified, leads, name = words[at : at + _MEMBERS]
        shown = name.decode(errors="surrogateescape")
        why = _name_complaint(shown, listed) or _complaint(kind, mode, modified, leads)
        if not listed and kind != b"d":
            why = why or "the root of the tree, which is not a directory"
        if why:
            raise ClientError(f"{source}: the guest lists {_quoted(shown)}, {why}")
        entry = Entry(
            kind.decode(),
            int(mode, 8),
            times.nanoseconds_of_find(modified),
            leads.decode(errors="surrogateescape"),
            shown,
        )
        if not times.fit(entry.modified):
            raise ClientError(f"{source}: the guest lists {_quoted(shown)}, whose modification time is out of range")
        listed[shown] = entry.kind
        entries.append(entry)
    return entries


def _name_complaint(name: str, listed: dict[str, str]) -> str | None:
    """Return what is wrong with a name behind those that were ``listed``; None if nothing is."""
    if not listed:
        return "which is not the root: expected that first" if name else None
    if name in listed:
        return "which it has listed before"
    if len(name.encode(errors="surrogateescape")) > MAX_PATH:
        return f"which is longer than {MAX_PATH} bytes"
    inside, _, last = name.rpartition("/")
    if last in ("", ".", "..") or name.startswith("/"):
        return "which is not the name of something in it"
    if len(last.encode(errors="surrogateescape")) > MAX_NAME:
        return f"which has a part longer than {MAX_NAME} bytes"
    if listed.get(inside) != "d":
        return "which is not in a directory that was listed before it"
    return None


def _complaint(kind: bytes, mode: bytes, modified: bytes, leads: bytes) -> str | None:
    """Return what is wrong with the rest of an entry; None if nothing is."""
    if not _KIND.fullmatch(kind):
        return "whose type is not a letter"
    if not _MODE.fullmatch(mode):
        return "whose mode is not an octal number of up to four digits"
    if not _TIME.fullmatch(modified):
        return "whose modification time is not a number of seconds"
    if bool(leads) != (kind == b"l") or len(leads) > MAX_PATH:
        return (
            "which is a link without a text, or with one too long"
            if kind == b"l"
            else "which is not a link and has a link's text"
        )
    return None


def _quoted(name: str) -> str:
    """Return a name in quotes, short enough for a sentence."""
    return repr(name if len(name) <= 100 else f"{name[:97]}...")
