"""Properties that hold on the host for any directory listing of a guest: nothing outside the target is touched."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from qga.client.client import Client
from qga.client.errors import ClientError
from qga.client.operations import listing, parts
from qga.client.operations.listing import TreeEntry
from qga.client.operations.outcome import Outcome
from qga.tool.commands import trees
from qga.tool.commands.localtree import LocalTree
from tests.fuzz.choices import Choices


def listed(data: bytes) -> None:
    """What is accepted is a tree: each entry is in a directory listed before it, under a name that stays inside."""
    directories: set[str] = set()
    for number, entry in enumerate(listing.parse("/x", data)):
        above, _, last = entry.name.rpartition("/")
        assert (above in directories and last not in ("", ".", "..")) if number else entry.name == ""
        assert 0 <= entry.mode <= 0o7777
        if entry.kind == "d":
            directories.add(entry.name)


def tree(data: bytes) -> None:
    """For any two successive listings of a guest, nothing outside the target is created or changed."""
    choices = Choices(data)
    with tempfile.TemporaryDirectory(prefix="qga-fuzz-tree-") as directory:
        scratch = Path(directory)
        for path in (scratch / "target", scratch / "outside", scratch / "outside" / "a"):
            path.mkdir()
        (scratch / "outside" / "b").write_bytes(b"theirs")
        before = _facts(scratch)
        for _ in range(2):
            named = {entry[-1]: entry for entry in (_entry(choices) for _ in range(choices.below(8)))}
            entries = [[b"d", b"755", b"0", b"", b""], *(named[name] for name in sorted(named))]
            text = b"".join(member + b"\0" for entry in entries for member in entry)
            with contextlib.suppress(ClientError, OSError), LocalTree(str(scratch / "target"), "tree") as target:
                made = trees.from_guest(cast(Client, _Lister(text)), "/x", target, choices.rarely())
                for job in made.files:
                    job.copy()
                made.finish()
            assert _facts(scratch) == before


def _entry(choices: Choices) -> list[bytes]:
    name = choices.pick([b"a", b"a/b", b"b", b"a/a", b"a/a/b"])
    if choices.rarely():
        name = choices.pick([b"..", b"../../outside/b", b"/", b"a/..", b"a//b"])
    kind = choices.pick([b"d", b"f", b"l"])
    leads = choices.pick([b"../../outside", b"../../outside/b", b"../../../outside", b".."]) if kind == b"l" else b""
    return [kind, b"7777", b"1", leads, name]


def _facts(scratch: Path) -> list[tuple[str, int, int]]:
    """Return the state of everything outside the target."""
    paths = [scratch, *(path for path in scratch.rglob("*") if "target" not in path.relative_to(scratch).parts[:-1])]
    return sorted((str(path), path.lstat().st_mode, 0 if path.is_dir() else path.lstat().st_size) for path in paths)


class _Lister:
    """A client of a guest that lists this, and whose files are empty."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def list_tree(self, path: str) -> list[TreeEntry]:
        return listing.parse(path, self._text)

    def download(self, source: str, target: str, *, dir_fd: int, **_: Any) -> Outcome:
        with parts.target(target, dir_fd) as place:
            place.check()
            part = place.part(parts.key())
            os.close(part.open())
            part.put()
        return Outcome()
