"""qga edit: written back as a whole, and never lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.tool import exits
from tests.client_agents import AGENTS_AND_BUSYBOX, listening
from tests.tool.test_tool import qga

pytestmark = pytest.mark.forks
APPEND = "sh -c 'echo more >>$1' sh"


@pytest.fixture(params=AGENTS_AND_BUSYBOX)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with listening(request.param, tmp_path) as path:
        yield path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "motd"
    path.write_text("first\n")
    path.chmod(0o640)
    return path


def edited(address: str, file: Path, editor: str) -> tuple[int, str]:
    scratch = Path(address).parent / "scratch"
    scratch.mkdir(exist_ok=True)
    environ = {**os.environ, "EDITOR": editor, "VISUAL": "", "TMPDIR": str(scratch)}
    done = qga(address, "edit", f":{file}", env=environ)
    return done.returncode, done.stderr


def kept(stderr: str) -> Path:
    path = Path(stderr.partition("your edited copy is kept in ")[2].splitlines()[0])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    return path


def test_a_change_is_written_back_with_the_old_mode(address: str, file: Path) -> None:
    assert edited(address, file, APPEND) == (0, "")
    assert file.read_text() == "first\nmore\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list((file.parent / "scratch").iterdir()) == []


def test_without_a_change_nothing_is_written(address: str, file: Path) -> None:
    inode = file.stat().st_ino
    status, said = edited(address, file, "true")
    assert (status, "was not changed" in said) == (0, True)
    assert file.stat().st_ino == inode


def test_what_others_changed_meanwhile_is_not_overwritten(address: str, file: Path) -> None:
    status, said = edited(address, file, f"sh -c 'echo mine >>$1; echo theirs >>{file}' sh")
    assert (status, "changed in the guest meanwhile" in said) == (exits.FAILED, True)
    assert file.read_text() == "first\ntheirs\n"
    assert kept(said).read_text() == "first\nmine\n"


def test_an_editor_that_fails_or_is_not_there(address: str, file: Path) -> None:
    status, said = edited(address, file, "sh -c 'echo mine >>$1; exit 3' sh")
    assert (status, "exited with status 3" in said) == (exits.FAILED, True)
    assert kept(said).read_text() == "first\nmine\n"
    status, said = edited(address, file, "/no/such/editor")
    assert (status, said.count("\n")) == (exits.USAGE, 1)
    assert file.read_text() == "first\n"


def test_a_file_that_cannot_be_written_back_is_kept(address: str, file: Path) -> None:
    there = file.parent / "d"
    there.mkdir()
    inner = file.rename(there / "f")
    status, said = edited(address, inner, f"sh -c 'echo mine >>$1; mv {there} {there}.gone' sh")
    assert (status, said.count("\n")) == (exits.FAILED, 2)
    assert kept(said).read_text() == "first\nmine\n"


def test_a_file_of_any_name(address: str, file: Path) -> None:
    """One called .now was taken for the guest's, and what was written was lost, with status 0."""
    for name in (".now", "-n", "a b'c"):
        named = file.rename(file.with_name(name))
        named.write_text("first\n")
        assert edited(address, named, APPEND) == (0, "")
        assert named.read_text() == "first\nmore\n"
        file = named


def test_an_editor_that_removes_the_file(address: str, file: Path) -> None:
    status, said = edited(address, file, "rm")
    assert (status, said.count("\n")) == (exits.HOST, 1)
    assert "No such file or directory" in said
    assert file.read_text() == "first\n"
