"""Directory trees for cp -r: what is in them, and all of it but the contents of files.

Symbolic links are copied as links, and followed nowhere: not by what is read, and not out of the target by what is
written, whatever the other side lists.
"""

from __future__ import annotations

import os
import posixpath
import secrets
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qga.client.client import Client
from qga.client.errors import ClientError
from qga.client.tool import show

_BATCH = 100  # directories or links of one program in the guest
_LINK = 'r=0; while [ $# -gt 0 ]; do ln -sfnT -- "$1" "$2" || r=1; shift 2; done; exit $r'
_SETTLE = 'r=0; while [ $# -gt 0 ]; do chmod "$1" -- "$3" && touch -m -d "@$2" -- "$3" || r=1; shift 3; done; exit $r'
_FORMAT = r"%y\0%m\0%T@\0%l\0%P\0"  # find(1): type, mode, time of change, where a link leads, name below the root
_MEMBERS = 5


class Tree(NamedTuple):
    """``files``: from where to where, for the caller to copy, and then to call ``finish``.

    ``skipped``: how many entries are neither files, directories nor links.
    """

    files: list[tuple[str, str]]
    finish: Callable[[], None]
    skipped: int


class Directory(NamedTuple):
    path: str
    mode: int
    modified: str  # seconds since 1970, with a fraction


def to_guest(client: Client, source: str, target: str) -> Tree:
    files: list[tuple[str, str]] = []
    directories: list[Directory] = []
    links: list[tuple[str, str]] = []
    skipped = 0
    for where, names, leaves in os.walk(source, onerror=_raise):
        far = target if where == source else posixpath.join(target, os.path.relpath(where, source))
        about = os.stat(where)
        seconds = "{}.{:09d}".format(*divmod(about.st_mtime_ns, 10**9))
        directories.append(Directory(far, stat.S_IMODE(about.st_mode), seconds))
        for name in sorted(names + leaves):
            path = os.path.join(where, name)
            kind = os.lstat(path).st_mode
            if stat.S_ISLNK(kind):
                links.append((os.readlink(path), posixpath.join(far, name)))
            elif stat.S_ISREG(kind):
                files.append((path, posixpath.join(far, name)))
            elif not stat.S_ISDIR(kind):
                skipped += _left_out(path)
    _batches(client, ["mkdir", "-p", "--"], [(one.path,) for one in directories])

    def finish() -> None:
        _batches(client, ["sh", "-c", _LINK, "sh"], links)
        _batches(
            client, ["sh", "-c", _SETTLE, "sh"], [(f"{d.mode:o}", d.modified, d.path) for d in reversed(directories)]
        )

    return Tree(files, finish, skipped)


def from_guest(client: Client, source: str, target: str) -> Tree:
    """What the guest lists out of the target is refused: ClientError."""
    files: list[tuple[str, str]] = []
    directories: list[Directory] = []
    links: list[tuple[str, str]] = []
    skipped = 0
    for kind, mode, modified, leads, inner in _listed(client, source):
        if inner.startswith("/") or ".." in inner.split("/"):
            raise ClientError(f"{source}: the guest lists {inner!r}, which is not in it")
        far = os.path.join(target, inner) if inner else target
        if inner:
            _must_stay(target, far)
        if kind == "d":
            if inner and os.path.islink(far):
                raise ClientError(_leaves(far))
            os.makedirs(far, exist_ok=True)
            directories.append(Directory(far, int(mode, 8), modified))
        elif kind == "f":
            files.append((posixpath.join(source, inner), far))
        elif kind == "l":
            links.append((leads, far))
        else:
            skipped += _left_out(posixpath.join(source, inner))

    def finish() -> None:
        for leads, far in links:
            _must_stay(target, far)
            _link(leads, far)
        for one in reversed(directories):
            os.chmod(one.path, one.mode)
            nanoseconds = _nanoseconds(one.modified)
            os.utime(one.path, ns=(nanoseconds, nanoseconds))

    return Tree(files, finish, skipped)


def _listed(client: Client, source: str) -> list[Sequence[str]]:
    root = source.rstrip("/") or "/"
    listed = client.run(["find", root if root.startswith("/") else f"./{root}", "-printf", _FORMAT])
    if listed.returncode or listed.truncated:
        why = "its list is too long" if listed.truncated else listed.stderr.decode(errors="replace").strip()
        raise ClientError(f"{source}: {why}")
    words = listed.stdout.decode(errors="surrogateescape").split("\0")[:-1]
    return [words[at : at + _MEMBERS] for at in range(0, len(words), _MEMBERS)]


def _batches(client: Client, program: list[str], items: Sequence[Sequence[str]]) -> None:
    for start in range(0, len(items), _BATCH):
        words = [word for item in items[start : start + _BATCH] for word in item]
        done = client.run([*program, *words], text=True)
        if done.returncode:
            raise ClientError(f"in the guest: {' '.join(done.stderr.split()) or f'exit status {done.returncode}'}")


def _must_stay(target: str, far: str) -> None:
    """Every directory between the two is one, and no link."""
    where = os.path.dirname(far)
    while len(where) > len(target):
        if os.path.islink(where):
            raise ClientError(_leaves(where))
        where = os.path.dirname(where)


def _leaves(path: str) -> str:
    return f"{path} is a symbolic link: what the guest has below it would leave the target by it"


def _link(leads: str, path: str) -> None:
    """In place of a file or link that is there."""
    new = f"{path}.{secrets.token_hex(6)}"
    os.symlink(leads, new)
    try:
        os.replace(new, path)
    except OSError:
        os.unlink(new)
        raise


def _nanoseconds(text: str) -> int:
    whole, _, rest = text.partition(".")
    return int(whole) * 10**9 + int(rest.ljust(9, "0")[:9] or 0)


def _left_out(path: str) -> int:
    show.note(f"{path}: neither a file, a directory nor a link: left out")
    return 1


def _raise(error: OSError) -> None:
    raise error
