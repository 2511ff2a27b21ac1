"""Directory trees for cp -r: what is in them, and all of it but the contents of files.

Symbolic links are copied as links, and followed nowhere: not by what is read, and not out of the target by what is
written, whatever the other side lists.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from qga.client import kinds, parts, times
from qga.client.client import Client
from qga.client.errors import ClientError
from qga.client.outcome import Outcome
from qga.client.tool import listing, show
from qga.client.tool.localtree import LocalTree

_BATCH = 100  # directories or links of one program in the guest
_LINK = 'r=0; while [ $# -gt 0 ]; do ln -sfnT -- "$1" "$2" || r=1; shift 2; done; exit $r'
_SETTLE = 'r=0; while [ $# -gt 0 ]; do chmod "$1" -- "$3" && touch -m -d "@$2" -- "$3" || r=1; shift 3; done; exit $r'


class Job(NamedTuple):
    """One file: ``copy`` is ``Client.upload`` or ``download`` from the one to the other, and takes their options."""

    source: str
    target: str
    copy: Callable[..., Outcome]


class Tree(NamedTuple):
    """``files`` are for the caller to copy, and then to call ``finish``.

    ``skipped``: how many entries are left out, as what they are cannot be copied.
    """

    files: list[Job]
    finish: Callable[[], None]
    skipped: int


class Directory(NamedTuple):
    path: str
    mode: int
    modified: str  # seconds since 1970, with a fraction


def to_guest(client: Client, source: str, target: str, keep_setuid: bool) -> Tree:
    files: list[Job] = []
    directories: list[Directory] = []
    links: list[tuple[str, str]] = []
    skipped = 0
    for where, names, leaves in os.walk(source, onerror=_raise):
        far = target if where == source else posixpath.join(target, os.path.relpath(where, source))
        about = os.stat(where)
        seconds = times.seconds(about.st_mtime_ns)
        directories.append(Directory(far, kinds.permissions(about.st_mode, keep_setuid), seconds))
        for name in sorted(names + leaves):
            path = os.path.join(where, name)
            kind = os.lstat(path).st_mode
            if stat.S_ISLNK(kind):
                links.append((os.readlink(path), posixpath.join(far, name)))
            elif stat.S_ISREG(kind):
                copy = partial(client.upload, path, posixpath.join(far, name))
                files.append(Job(path, posixpath.join(far, name), copy))
            elif not stat.S_ISDIR(kind):
                skipped += _left_out(path, "neither a file, a directory nor a link")
    _batches(client, ["mkdir", "-p", "--"], [(one.path,) for one in directories])

    def finish() -> None:
        _batches(client, ["sh", "-c", _LINK, "sh"], links)
        _batches(
            client, ["sh", "-c", _SETTLE, "sh"], [(f"{d.mode:o}", d.modified, d.path) for d in reversed(directories)]
        )

    return Tree(files, finish, skipped)


def from_guest(client: Client, source: str, tree: LocalTree, keep_setuid: bool) -> Tree:
    """Raises ClientError for what the guest lists and cannot be, and for what is in its way on this machine."""
    files: list[Job] = []
    directories: list[listing.Entry] = []
    links: list[listing.Entry] = []
    skipped = 0
    for entry in listing.parse(source, _listed(client, source)):
        inside = posixpath.join(source, entry.name)
        if entry.kind == "d":
            directories.append(entry)
        elif entry.kind == "l":
            links.append(entry)
        elif entry.kind != "f":
            skipped += _left_out(inside, "neither a file, a directory nor a link")
        elif not _can_be_asked(inside):
            skipped += _left_out(inside, "its name is not UTF-8, and JSON carries nothing else")
        else:
            files.append(Job(inside, tree.shown(entry.name), partial(download, client, inside, tree, entry.name)))
    for one in directories:
        tree.make_directory(one.name)

    def finish() -> None:
        for one in links:
            tree.make_link(one.name, one.leads)
        for one in reversed(directories):
            tree.settle(one.name, one.mode, one.modified, keep_setuid)

    return Tree(files, finish, skipped)


def download(client: Client, source: str, tree: LocalTree, name: str, **options: Any) -> Outcome:
    """One file, to its name in the tree: no link on the way there is followed, nor one that has its name."""
    with parts.named(tree.shown(name)), tree.opened_parent(name) as (directory, last):
        return client.download(source, last, dir_fd=directory, **options)


def _listed(client: Client, source: str) -> bytes:
    root = source if source.startswith("/") else f"./{source}"
    listed = client.run(["find", "-H", root, "-printf", listing.FORMAT])
    if listed.returncode or listed.truncated:
        why = "its list is too long" if listed.truncated else listed.stderr.decode(errors="replace").strip()
        raise ClientError(f"{source}: {why}")
    found: bytes = listed.stdout
    return found


def _batches(client: Client, program: list[str], items: Sequence[Sequence[str]]) -> None:
    for start in range(0, len(items), _BATCH):
        words = [word for item in items[start : start + _BATCH] for word in item]
        done = client.run([*program, *words], text=True)
        if done.returncode:
            raise ClientError(f"in the guest: {' '.join(done.stderr.split()) or f'exit status {done.returncode}'}")


def _left_out(path: str, why: str) -> int:
    show.note(f"{path}: {why}: left out")
    return 1


def _can_be_asked(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _raise(error: OSError) -> None:
    raise error
