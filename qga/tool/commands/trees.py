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

from qga.client import quoting
from qga.client.client import Client
from qga.client.operations import kinds, parts, placing, times
from qga.client.operations.listing import TreeEntry
from qga.client.operations.outcome import Outcome
from qga.tool import output
from qga.tool.commands.localtree import LocalTree


class Job(NamedTuple):
    """One file: ``copy`` is ``Client.upload`` or ``download`` from the one to the other, and takes their options."""

    source: str
    target: str
    copy: Callable[..., Outcome]


class Tree(NamedTuple):
    """A tree whose directories are made: the caller copies ``files``, and then calls ``finish``.

    ``skipped``: how many entries were left out, as what they are cannot be copied.
    """

    files: list[Job]
    finish: Callable[[], None]
    skipped: int


class Directory(NamedTuple):
    """A directory to be made in the guest."""

    path: str
    mode: int
    modified: str  # seconds since 1970, with a fraction


def to_guest(client: Client, source: str, target: str, keep_setuid: bool, insecure: bool) -> Tree:
    """Make the directories of a tree of this machine in the guest; return what is left to do."""
    root = target if "/" in target else f"./{target}"
    files: list[Job] = []
    directories: list[Directory] = []
    links: list[tuple[str, str]] = []
    skipped = 0
    for where, names, leaves in os.walk(source, onerror=_raise):
        there = root if where == source else posixpath.join(root, os.path.relpath(where, source))
        about = os.stat(where)
        seconds = times.seconds(about.st_mtime_ns)
        directories.append(Directory(there, kinds.permissions(about.st_mode, keep_setuid), seconds))
        for name in sorted(names + leaves):
            path = os.path.join(where, name)
            kind = os.lstat(path).st_mode
            if stat.S_ISLNK(kind):
                links.append((os.readlink(path), posixpath.join(there, name)))
            elif stat.S_ISREG(kind):
                copy = partial(client.upload, path, posixpath.join(there, name), insecure=insecure)
                files.append(Job(path, posixpath.join(there, name), copy))
            elif not stat.S_ISDIR(kind):
                skipped += _left_out(path, "it is neither a file nor a directory nor a link")
    directories.sort(key=lambda one: (one.path.count("/"), one.path))  # outer ones first, and those of one together
    _change(client, "directories", [(_umask(one.mode), one.path) for one in directories])

    def finish() -> None:
        _change(client, "links", links)
        _change(client, "settle", [(f"{one.mode:o}", one.modified, one.path) for one in reversed(directories)])

    return Tree(files, finish, skipped)


def from_guest(client: Client, source: str, tree: LocalTree, keep_setuid: bool) -> Tree:
    """Make the directories of a tree of the guest on this machine; return what is left to do.

    Raises ClientError for a list that is not a tree's, and for what is in its way on this machine.
    """
    files: list[Job] = []
    directories: list[TreeEntry] = []
    links: list[TreeEntry] = []
    skipped = 0
    for entry in client.list_tree(source):
        inside = posixpath.join(source, entry.name)
        if entry.kind == "d":
            directories.append(entry)
        elif entry.kind == "l":
            links.append(entry)
        elif entry.kind != "f":
            skipped += _left_out(inside, "it is neither a file nor a directory nor a link")
        elif not quoting.is_sayable(inside):
            skipped += _left_out(inside, "its name is not UTF-8, which is all that JSON carries")
        else:
            files.append(Job(inside, tree.shown(entry.name), partial(download, client, inside, tree, entry.name)))
    for one in directories:
        tree.make_directory(one.name)

    def finish() -> None:
        for one in links:
            tree.make_link(one.name, one.link_target)
        for one in reversed(directories):
            tree.settle(one.name, one.mode, one.modified, keep_setuid)

    return Tree(files, finish, skipped)


def download(client: Client, source: str, tree: LocalTree, name: str, **options: Any) -> Outcome:
    """Copy one file to its name in the tree; no link on the way there is followed, nor one that has its name."""
    with parts.named(tree.shown(name)), tree.opened_parent(name) as (directory, last):
        return client.download(source, last, dir_fd=directory, **options)


def _change(client: Client, script: str, items: Sequence[Sequence[str]]) -> None:
    for text in client.carry_out(placing.change_tree(script, items)):
        output.note(text)


def _umask(mode: int) -> str:
    """Return the umask for a new directory of this mode or less.

    The agent's user must get in, and mkdir(1) sets no sticky bit.
    """
    if mode & stat.S_ISVTX:
        mode &= ~0o022
    return f"{~(mode | 0o700) & 0o777:03o}"


def _left_out(path: str, why: str) -> int:
    output.note(f"{path} was left out: {why}")
    return 1


def _raise(error: OSError) -> None:
    raise error
