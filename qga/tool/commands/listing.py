"""What a guest lists of a directory tree, which may be anything: all of it is checked before anything is made of it.

A listing is what ``FORMAT`` has find(1) write. What comes out of ``parse`` is a tree: one root, a directory, and
below it entries that are listed once each, behind the directory that they are in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qga.client.errors import ClientError
from qga.client.operations import times

FORMAT = r"%y\0%m\0%T@\0%l\0%P\0"  # type, mode, time of change, where a link leads, name below the root
MOST_BYTES = 16 << 20  # of a listing: no agent captures more of a program
MOST_ENTRIES = 500_000  # as many as a listing of that size has with the shortest names
MOST_NAME, MOST_PATH = 255, 4095  # bytes: limits.h, NAME_MAX and PATH_MAX without the NUL

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
    """Raises ClientError, which says what of it cannot be."""
    if len(listing) > MOST_BYTES:
        raise ClientError(f"{source}: its list is too long: more than {MOST_BYTES >> 20} MiB")
    words = listing.split(b"\0")
    if words.pop() or not words or len(words) % _MEMBERS:
        raise ClientError(f"{source}: the guest's list of it breaks off")
    if len(words) > MOST_ENTRIES * _MEMBERS:
        raise ClientError(f"{source}: its list is too long: more than {MOST_ENTRIES} entries")
    entries: list[Entry] = []
    listed: dict[str, str] = {}
    for at in range(0, len(words), _MEMBERS):
        kind, mode, modified, leads, name = words[at : at + _MEMBERS]
        shown = name.decode(errors="surrogateescape")
        why = _name_complaint(shown, listed) or _complaint(kind, mode, modified, leads)
        if not listed and kind != b"d":
            why = why or "as its root, which is not a directory"
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
            raise ClientError(f"{source}: the guest lists {_quoted(shown)}, whose time of change cannot be")
        listed[shown] = entry.kind
        entries.append(entry)
    return entries


def _name_complaint(name: str, listed: dict[str, str]) -> str | None:
    if not listed:
        return "which is not its root" if name else None
    if name in listed:
        return "which it has listed before"
    if len(name.encode(errors="surrogateescape")) > MOST_PATH:
        return f"which is longer than {MOST_PATH} bytes"
    inside, _, last = name.rpartition("/")
    if last in ("", ".", "..") or name.startswith("/"):
        return "which is not the name of something in it"
    if len(last.encode(errors="surrogateescape")) > MOST_NAME:
        return f"which has a part longer than {MOST_NAME} bytes"
    if listed.get(inside) != "d":
        return "which is not in a directory that was listed before it"
    return None


def _complaint(kind: bytes, mode: bytes, modified: bytes, leads: bytes) -> str | None:
    if not _KIND.fullmatch(kind):
        return "whose type cannot be"
    if not _MODE.fullmatch(mode):
        return "whose mode cannot be"
    if not _TIME.fullmatch(modified):
        return "whose time of change cannot be"
    if bool(leads) != (kind == b"l") or len(leads) > MOST_PATH:
        return "which is a link to nowhere" if kind == b"l" else "which is not a link and leads elsewhere"
    return None


def _quoted(name: str) -> str:
    """Short enough for a sentence."""
    return repr(name if len(name) <= 100 else f"{name[:97]}...")
