"""cp -r from a guest that lists what it likes: nothing but the target is written, changed or followed here."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from qga.client import ClientError
from qga.tool import exits
from qga.tool.commands.localtree import LocalTree
from tests.client.test_listing import FILE, ROOT, listed
from tests.client_agents import agent
from tests.tool.test_tool import TOOL, qga


class TestLocalTree:
    def test_a_link_that_is_put_there_meanwhile(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        (outside / "b").mkdir(parents=True, mode=0o700)
        with LocalTree(str(tmp_path / "target")) as tree:
            tree.make_directory("a")
            tree.make_directory("a/b")
            (tmp_path / "target" / "a").rename(tmp_path / "moved")
            (tmp_path / "target" / "a").symlink_to(outside)
            with pytest.raises(ClientError, match="a is a symbolic link: expected a directory"):
                tree.make_directory("a/c")
            with pytest.raises(ClientError, match="is a symbolic link"):
                tree.make_link("a/c", "x")
            with pytest.raises(ClientError, match="is a symbolic link"), tree.opened_parent("a/b/c"):
                pass
            for name in ("a", "a/b"):
                with pytest.raises(ClientError, match="is a symbolic link"):
                    tree.settle(name, 0o777, 0, keep_setuid=True)
        assert [path.name for path in outside.rglob("*")] == ["b"]
        assert stat.S_IMODE((outside / "b").stat().st_mode) == 0o700

    def test_a_root_that_is_moved_away_is_still_the_root(self, tmp_path: Path) -> None:
        with LocalTree(str(tmp_path / "target")) as tree:
            (tmp_path / "target").rename(tmp_path / "moved")
            (tmp_path / "target").symlink_to("/")
            tree.make_directory("a")
        assert (tmp_path / "moved" / "a").is_dir()

    def test_an_error_names_the_whole_path(self, tmp_path: Path) -> None:
        with LocalTree(str(tmp_path / "target")) as tree:
            tree.make_directory("a")
            (tmp_path / "target" / "a").rmdir()
            works: list[Callable[[], None]] = [
                lambda: tree.make_link("a/b", "x"),
                lambda: tree.make_directory("a/b"),
                lambda: tree.settle("a/b", 0o700, 0, keep_setuid=False),
            ]
            for work in works:
                with pytest.raises(FileNotFoundError) as caught:
                    work()
                assert caught.value.filename == f"{tmp_path}/target/a/b"

    def test_it_is_private_until_all_is_in_it(self, tmp_path: Path) -> None:
        with LocalTree(str(tmp_path / "target")) as tree:
            tree.make_directory("a")
            for name in ("", "a"):
                assert stat.S_IMODE(os.stat(tmp_path / "target" / name).st_mode) == 0o700
                tree.settle(name, 0o6755, 0, keep_setuid=False)
                assert stat.S_IMODE(os.stat(tmp_path / "target" / name).st_mode) == 0o755


class Guest(NamedTuple):
    """``tree``: in the guest. ``outside``: on the host, never to be touched. ``target``: there, for the copies."""

    address: str
    tree: Path
    listing: Path
    outside: Path
    target: Path

    def cp(self, *entries: tuple[bytes, ...], words: tuple[str, ...] = (), status: int = 0) -> str:
        """cp -r of a tree with such a listing; what it says."""
        self.listing.write_bytes(listed(ROOT, *entries))
        done = qga(self.address, "cp", "-r", *words, f":{self.tree}", str(self.target))
        assert done.returncode == status, done.stderr
        assert done.stderr.count("\n") == bool(status)
        return done.stderr


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    """A real agent whose find(1) writes what a test wants."""
    made = Guest(
        str(tmp_path / "agent.sock"), *(tmp_path / name for name in ("tree", "listing", "outside", "target"))
    )
    programs = tmp_path / "bin"
    for directory in (programs, made.tree, made.outside):
        directory.mkdir()
    (programs / "find").write_text(f'#!/bin/sh\ncase "$*" in *%P*) exec cat {made.listing} ;; esac\n')
    (programs / "find").chmod(0o755)
    (made.outside / "file").write_bytes(b"theirs")
    (made.outside / "file").chmod(0o600)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    before = facts_of(made.outside)
    with agent("ours", tmp_path, path=made.address):
        yield made
    assert facts_of(made.outside) == before


def facts_of(directory: Path) -> list[tuple[str, int, int, int]]:
    """Name, mode, times and size of all in it."""
    paths = sorted([directory, *directory.rglob("*")])
    found = [(str(path), path.lstat()) for path in paths]
    return [(path, about.st_mode, about.st_mtime_ns, about.st_size) for path, about in found]


@pytest.mark.forks
@pytest.mark.slow
class TestHostileGuest:
    def test_a_link_and_then_a_file(self, guest: Guest) -> None:
        """The attack: the second copy must not write through what the first has made."""
        guest.target.mkdir()
        guest.cp((b"l", b"777", b"0", str(guest.outside / "file").encode(), b"evil"))
        assert os.readlink(guest.target / "tree" / "evil") == str(guest.outside / "file")
        (guest.tree / "evil").write_bytes(b"ours")
        guest.cp((*FILE, b"evil"))
        assert not (guest.target / "tree" / "evil").is_symlink()
        assert (guest.target / "tree" / "evil").read_bytes() == b"ours"

    def test_a_link_and_then_a_directory(self, guest: Guest) -> None:
        guest.target.mkdir()
        guest.cp((b"l", b"777", b"0", str(guest.outside).encode(), b"evil"))
        (guest.tree / "evil").mkdir()
        (guest.tree / "evil" / "file").write_bytes(b"ours")
        directory = (b"d", b"777", b"0", b"", b"evil")
        for entries in ([directory], [directory, (*FILE, b"evil/file")], [directory, (*directory[:4], b"evil/new")]):
            assert "tree/evil is a symbolic link: expected a directory" in guest.cp(*entries, status=exits.FAILED)

    def test_a_directory_and_then_a_link(self, guest: Guest) -> None:
        guest.target.mkdir()
        guest.cp((b"d", b"755", b"0", b"", b"evil"))
        link = (b"l", b"777", b"0", str(guest.outside).encode(), b"evil")
        assert "tree/evil: a directory is there: expected a regular file" in guest.cp(link, status=exits.HOST)
        assert (guest.target / "tree" / "evil").is_dir()

    def test_a_root_that_is_a_link_by_an_earlier_copy(self, guest: Guest) -> None:
        guest.target.mkdir()
        (guest.target / "tree").symlink_to(guest.outside)
        (guest.tree / "file").write_bytes(b"ours")
        assert "target/tree is a symbolic link" in guest.cp((*FILE, b"file"), status=exits.FAILED)

    def test_one_file_into_a_directory_with_such_a_link(self, guest: Guest) -> None:
        guest.target.mkdir()
        (guest.target / "file").symlink_to(guest.outside / "file")
        (guest.tree / "file").write_bytes(b"ours")
        assert qga(guest.address, "cp", f":{guest.tree}/file", str(guest.target)).returncode == 0
        assert not (guest.target / "file").is_symlink()
        assert (guest.target / "file").read_bytes() == b"ours"

    def test_the_links_of_a_typed_target_are_followed(self, guest: Guest) -> None:
        elsewhere = guest.tree.parent / "elsewhere"
        elsewhere.mkdir()
        guest.target.symlink_to(elsewhere)
        guest.cp((b"d", b"755", b"0", b"", b"a"))
        assert (elsewhere / "tree" / "a").is_dir()
        (elsewhere / "old").write_bytes(b"old")
        (elsewhere / "link").symlink_to("old")
        (guest.tree / "new").write_bytes(b"new")
        assert qga(guest.address, "cp", f":{guest.tree}/new", str(elsewhere / "link")).returncode == 0
        assert (elsewhere / "link").is_symlink()
        assert (elsewhere / "old").read_bytes() == b"new"

    @pytest.mark.parametrize("name", [b"../file", b"/file", b"a/../../outside/file"])
    def test_names_outside(self, guest: Guest, name: bytes) -> None:
        guest.cp((b"d", b"755", b"0", b"", b"a"), (*FILE, name), status=exits.FAILED)
        assert list(guest.target.iterdir()) == [], "nothing was made of it"

    def test_the_name_of_the_tree_itself(self, guest: Guest) -> None:
        """What has no name goes into the target: never beside it."""
        guest.target.mkdir()
        (guest.tree / "in").mkdir()
        guest.listing.write_bytes(listed(ROOT, (b"d", b"700", b"0", b"", b"a")))
        for source in (f"{guest.tree}/in/..", f"{guest.tree}/."):
            assert qga(guest.address, "cp", "-r", f":{source}", str(guest.target)).returncode == 0
        assert [path.name for path in guest.target.iterdir()] == ["a"]

    def test_a_file_that_has_become_something_else(self, guest: Guest) -> None:
        os.mkfifo(guest.tree / "pipe")
        assert "pipe is a FIFO: expected a regular file" in guest.cp((*FILE, b"pipe"), status=exits.FAILED)

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_a_special_file_in_the_way(self, guest: Guest, kind: str) -> None:
        (guest.tree / "x").write_bytes(b"new")
        (guest.target / "tree").mkdir(parents=True)
        os.mkfifo(guest.target / "tree" / "x")
        entry = (*FILE, b"x") if kind == "file" else (b"l", b"777", b"0", b"y", b"x")
        assert "tree/x: a FIFO is there: expected a regular file" in guest.cp(entry, status=exits.HOST)
        assert stat.S_ISFIFO(os.lstat(guest.target / "tree" / "x").st_mode)

    def test_names_that_are_not_utf_8(self, guest: Guest) -> None:
        """Directories and links are made by their very bytes; a file of such a name cannot be asked for."""
        (guest.tree / "a").write_bytes(b"a")
        said = guest.cp(
            (b"d", b"755", b"0", b"", b"\xe9"), (b"l", b"777", b"0", b"\xe8\n", b"\xe9/\xe8"), (*FILE, b"\xff"),
            (*FILE, b"a"), status=exits.FAILED,
        )  # fmt: skip
        assert "its name is not UTF-8" in said
        assert sorted(os.listdir(os.fsencode(guest.target))) == [b"a", b"\xe9"]
        assert os.readlink(os.fsencode(guest.target) + b"/\xe9/\xe8") == b"\xe8\n"

    def test_setuid_and_its_kin(self, guest: Guest) -> None:
        (guest.tree / "d").mkdir()
        (guest.tree / "d" / "x").write_bytes(b"x")
        (guest.tree / "d" / "x").chmod(0o6755)
        directory = (b"d", b"3775", b"0", b"", b"d")
        modes = {(): (0o1775, 0o755), ("--keep-setuid",): (0o3775, 0o6755)}  # sticky, as others may write into it
        for words, expected in modes.items():
            guest.cp(directory, (*FILE, b"d/x"), words=words)
            found = tuple(stat.S_IMODE((guest.target / name).stat().st_mode) for name in ("d", "d/x"))
            assert found == expected
            guest.target.rename(guest.target.with_name("done" + "".join(words)))

    def test_a_directory_keeps_what_this_machine_gave_it(self, guest: Guest) -> None:
        guest.target.mkdir()
        guest.target.chmod(0o2775)  # new files are of its group, and so on below it
        guest.cp((b"d", b"700", b"0", b"", b"d"))
        assert stat.S_IMODE((guest.target / "tree" / "d").stat().st_mode) == 0o2700


def test_more_files_than_a_process_may_open(guest: Guest, tmp_path: Path) -> None:
    sources = [tmp_path / f"one-{number}" for number in range(60)]
    for source in sources:
        source.write_text(source.name)
    words = [f":{source}" for source in sources] + [str(guest.target)]
    limited = ["sh", "-c", 'ulimit -n 40; exec "$@"', "sh", *TOOL, "-c", guest.address, "cp", *words]
    guest.target.mkdir(exist_ok=True)
    done = subprocess.run(limited, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in guest.target.iterdir()} >= {source.name for source in sources}


def test_a_typed_directory_keeps_its_mode(tmp_path: Path) -> None:
    """A guest that called its tree 0777 had opened the home of who copied into it."""
    there, home, new = (tmp_path / name for name in ("there", "home", "new"))
    (there / "inner").mkdir(parents=True)
    there.chmod(0o777)
    (there / "inner").chmod(0o770)
    home.mkdir(0o700)
    address = tmp_path / "plain.sock"
    with agent("ours", tmp_path, path=address):
        for target, mode in ((home, 0o700), (new, 0o777)):
            done = qga(str(address), "cp", "-r", f":{there}/.", str(target))
            assert (done.returncode, done.stderr) == (0, "")
            assert stat.S_IMODE(target.stat().st_mode) == mode
            assert stat.S_IMODE((target / "inner").stat().st_mode) == 0o770
