"""List a directory tree of the guest. What the guest writes may be anything, and is checked before it is returned.

A listing is what ``FORMAT`` has find(1) write. What ``parse`` returns is a tree: its root, a directory, and below it
entries that are listed once each, behind the directory that they are in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qga.client.errors import ClientError
from qga.client.operations import run, scripts, times

FORMAT = r"%y\0%m\0%T@\0%l\0%P\0"  # in the order of TreeEntry's members
MAX_BYTES = 16 << 20  # of a listing: no agent captures more of a program
MAX_ENTRIES = 500_000  # as many as a listing of that size has with the shortest names
MAX_NAME, MAX_PATH = 255, 4095  # bytes: limits.h, NAME_MAX and PATH_MAX without the NUL

_MEMBERS = 5
_KIND = re.compile(rb"[a-zA-Z?]")
_MODE = re.compile(rb"[0-7]{1,4}")
_TIME = re.compile(rb"-?\d{1,19}(\.\d{1,10})?")


class TreeEntry(NamedTuple):
    """One file, directory, symbolic link or other entry of a directory tree.

    Bytes of a name or a link that are not UTF-8 are surrogates, as ``os.fsdecode`` returns them.
    """

    kind: str
    """The type as a letter of find(1): d directory, f regular file, l symbolic link, any other: none of these."""
    mode: int
    """Permissions with the setuid, setgid and sticky bits: 0 to 0o7777."""
    modified: int
    """The time of the last modification, in nanoseconds since 1970."""
    link_target: str
    """The text of a symbolic link; "" for anything else."""
    name: str
    """The path below the root of the tree, its parts between slashes; "" for the root itself."""


async def list_tree(path: str) -> list[TreeEntry]:
    """List a directory of the guest and all below it.

    The first entry is the directory itself, also where ``path`` is a symbolic link to it; every other entry comes
    after the directory that it is in. Links below it are listed, and not followed.

    The guest must have a sh, and find(1) with -printf or else stat(1) and readlink(1). Raises ClientError where that
    fails, where ``path`` is not a directory, for a list that is not a tree's, and for one of more than 16 MiB or
    500,000 entries.
    """
    root = path if path.startswith("/") else f"./{path}"
    done = await run.run(["sh", "-c", scripts.alone("list"), "sh", root, FORMAT, scripts.alone("entries")])
    if done.truncated:
        raise ClientError(f"{path}: the list of what is in it is too long")
    if done.returncode:
        raise ClientError(f"{path}: {done.stderr.decode(errors='replace').strip()}")
    return parse(path, done.stdout)


def parse(source: str, listing: bytes) -> list[TreeEntry]:
    """Return the entries of a listing. Raises ClientError, which says what is wrong with it."""
    if len(listing) > MAX_BYTES:
        raise ClientError(f"{source}: the guest's list of it is too long: more than {MAX_BYTES >> 20} MiB")
    words = listing.split(b"\0")
    if words.pop() or not words or len(words) % _MEMBERS:
        raise ClientError(f"{source}: the guest's list of it is incomplete")
    if len(words) > MAX_ENTRIES * _MEMBERS:
        raise ClientError(f"{source}: the guest's list of it is too long: more than {MAX_ENTRIES} entries")
    entries: list[TreeEntry] = []
    listed: dict[str, str] = {}
    for at in range(0, len(words), _MEMBERS):
        kind, mode, modified, link, name = words[at : at + _MEMBERS]
        shown = name.decode(errors="surrogateescape")
        why = _name_complaint(shown, listed) or _complaint(kind, mode, modified, link)
        if not listed and kind != b"d":
            why = why or "the root of the tree, which is not a directory"
        if why:
            raise ClientError(f"{source}: the guest lists {_quoted(shown)}, {why}")
        entry = TreeEntry(
            kind.decode(),
            int(mode, 8),
            times.nanoseconds_of_find(modified),
            link.decode(errors="surrogateescape"),
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


def _complaint(kind: bytes, mode: bytes, modified: bytes, link: bytes) -> str | None:
    """Return what is wrong with the rest of an entry; None if nothing is."""
    if not _KIND.fullmatch(kind):
        return "whose type is not a letter"
    if not _MODE.fullmatch(mode):
        return "whose mode is not an octal number of up to four digits"
    if not _TIME.fullmatch(modified):
        return "whose modification time is not a number of seconds"
    if kind != b"l":
        return "which is not a link and has a link's text" if link else None
    return None if 0 < len(link) <= MAX_PATH else "which is a link without a text, or with one too long"


def _quoted(name: str) -> str:
    """Return a name in quotes, short enough for a sentence."""
    return repr(name if len(name) <= 100 else f"{name[:97]}...")
