"""Copies into a directory of another user of the guest, who races them: nothing of root's becomes his, or is changed.

The guest is this machine; its agent runs as root, and he does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qga.client import Client, ClientError
from qga.client.operations import scripts
from tests.attacker import LONGEST, UID, attacking, swap_directories, swap_parts
from tests.client_agents import agent, listening
from tests.tool.test_tool import qga

pytestmark = [
    pytest.mark.forks,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root's agent can be made to give files away"),
]
UPLOADS = 100
CLONE_NEWNS = 0x20000  # sched.h
CONTENT = os.urandom(30_000)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with listening("ours", tmp_path) as path:
        yield path


class Area:
    """``his`` is a directory of his, in root's; ``file`` and ``directory`` are root's alone. ``source``: to copy."""

    def __init__(self, root: Path) -> None:
        self.root, self.his, self.file, self.directory = root, root / "his", root / "file", root / "directory"
        self.source = root / "source"
        root.chmod(0o755)
        self.his.mkdir(0o755)
        os.chown(self.his, UID, UID)
        self.file.write_bytes(b"secret")
        self.file.chmod(0o600)
        self.directory.mkdir(0o700)
        self.source.write_bytes(CONTENT)
        self.source.chmod(0o644)
        self._before = self._state()

    def unharmed(self) -> bool:
        return self._state() == self._before and not [path for path in self.root.iterdir() if "qga" in path.name]

    def _state(self) -> tuple[object, ...]:
        one, other = self.file.lstat(), self.directory.lstat()
        return (
            *(one.st_uid, one.st_gid, one.st_mode, one.st_nlink, self.file.read_bytes()),
            *(other.st_uid, other.st_gid, other.st_mode, os.listdir(self.directory)),
        )


@pytest.fixture
def area() -> Iterator[Area]:
    """Where he can get to: not below pytest's directory."""
    root = Path(tempfile.mkdtemp(prefix="race-", dir="/tmp"))
    yield Area(root)
    shutil.rmtree(root)


@pytest.fixture
def guest(address: str) -> Iterator[Client]:
    with Client(address) as guest:
        yield guest


def race_for_parts(guest: Client, area: Area) -> None:
    done = 0
    refused: list[str] = []
    with attacking(swap_parts, str(area.his), str(area.file)):
        for _ in range(UPLOADS):
            with contextlib.suppress(FileNotFoundError):
                (area.his / "x").unlink()
            try:
                guest.upload(str(area.source), f"{area.his}/x")
                done += 1
            except ClientError as error:
                refused.append(str(error))
            assert area.unharmed()
    assert done > UPLOADS // 10
    assert all("a symbolic link that others may change" in why for why in refused)
    whole = area.his / "x"
    assert whole.is_symlink() or whole.read_bytes() == CONTENT


@pytest.mark.slow
def test_what_others_put_in_place_of_a_part_is_not_followed(guest: Client, area: Area) -> None:
    race_for_parts(guest, area)


def in_own_mounts(work: Callable[[], None]) -> None:
    """In a child with a mount namespace of its own."""
    child = os.fork()
    if not child:
        try:
            assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.slow
def test_a_filesystem_of_others(tmp_path: Path, area: Area) -> None:
    """No directory of root's on it: the part grows on another, and is copied."""

    def work() -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={UID},mode=755", "race", area.his], check=True)
        with (
            agent("ours", tmp_path, path=tmp_path / "sock"),
            Client.connect(str(tmp_path / "sock"), wait=10) as guest,
        ):
            copies_as_elsewhere(guest, area)
            race_for_parts(guest, area)

    in_own_mounts(work)


@pytest.mark.slow
def test_a_directory_that_others_swap_is_not_another(guest: Client, area: Area) -> None:
    inner = area.his / "inner"
    inner.mkdir()
    os.chown(inner, UID, UID)
    done = tries = 0
    deadline = time.monotonic() + LONGEST / 2
    with attacking(swap_directories, str(area.his), str(area.directory)):
        # On a busy machine he may be faster fifty times in a row: then it is tried until one copy has got through.
        while tries < UPLOADS // 2 or (not done and time.monotonic() < deadline):
            tries += 1
            with contextlib.suppress(ClientError):
                guest.upload(str(area.source), f"{inner}/x")
                done += 1
            assert area.unharmed()
    assert done
    assert (inner / "x").read_bytes() == CONTENT


@pytest.mark.slow
def test_a_tree(address: str, area: Area) -> None:
    tree = area.root / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").write_bytes(CONTENT)
    (tree / "a" / "link").symlink_to("b")
    with attacking(swap_directories, str(area.his), str(area.directory)):
        for _ in range(10):
            qga(address, "cp", "-r", str(tree), f":{area.his}")
            assert area.unharmed()


def test_without_a_race_all_is_as_elsewhere(guest: Client, area: Area) -> None:
    copies_as_elsewhere(guest, area)


def copies_as_elsewhere(guest: Client, area: Area) -> None:
    """New files are root's, and what is replaced keeps its owner."""
    area.source.chmod(0o640)
    (area.his / "old").write_bytes(b"old")
    os.chown(area.his / "old", UID, UID)
    for name, owner in (("new", 0), ("old", UID)):
        outcome = guest.upload(str(area.source), f"{area.his}/{name}")
        assert (outcome.notes, outcome.atomic, outcome.verified) == ([], True, True)
        found = (area.his / name).stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode), found.st_nlink) == (owner, 0o640, 1)
        assert found.st_mtime_ns == area.source.stat().st_mtime_ns
        assert (area.his / name).read_bytes() == CONTENT
    assert sorted(os.listdir(area.his)) == ["new", "old"]
    assert area.unharmed()


def test_a_link_of_others_is_refused_by_name(guest: Client, area: Area) -> None:
    (area.his / "link").symlink_to(area.directory)
    with pytest.raises(ClientError, match=f"{area.his}/link: a symbolic link that others may change"):
        guest.upload(str(area.source), f"{area.his}/link/x")
    assert area.unharmed()


@pytest.fixture
def losing(tmp_path: Path) -> dict[str, str]:
    """An environment in which he always wins: when rm has removed a part, a link of his to ``trap`` is there."""
    programs = tmp_path / "programs"
    programs.mkdir()
    os.mkfifo(tmp_path / "trap")
    for name, text in (
        ("rm", '/bin/rm "$@"; for last; do :; done; /bin/ln -s "$TRAP" "$last"'),
        ("ln", "exit 1"),  # as on another filesystem
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "TRAP": str(tmp_path / "trap")}


@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda words: words[0])
def test_what_is_not_a_regular_file_is_not_written_into(
    area: Area, losing: dict[str, str], tmp_path: Path, shell: list[str]
) -> None:
    """set -C opens a device or a FIFO that is put there between rm and the open: a disk was written to."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    trap = os.open(tmp_path / "trap", os.O_RDWR | os.O_NONBLOCK)
    try:
        part = area.root / "part"
        part.write_bytes(CONTENT)
        part.chmod(0o600)
        words = [str(area.his / "x"), str(part), "644", ""]
        done = subprocess.run(
            [*shell, "-c", scripts.text("finish"), "sh", *words], env=losing, capture_output=True, text=True
        )
        assert done.returncode
        assert "somebody has put something else in the place of the copy" in done.stderr
        with pytest.raises(BlockingIOError):
            os.read(trap, 1)
        assert not (area.his / "x").exists()
        part.unlink()
        words = [str(area.his / "x"), ".x.part"]
        done = subprocess.run(
            [*shell, "-c", scripts.text("prepare"), "sh", *words], env=losing, capture_output=True, text=True
        )
        assert done.returncode
        assert "somebody has put something else in its place" in done.stderr
    finally:
        os.close(trap)
    (area.root / ".x.part").unlink()
