"""Names that are hard to say: each reaches the guest as it is, or is refused by name, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.client import Client, ClientError, quoting
from qga.testing import FakeGuest
from qga.tool import exits
from tests.client_agents import AGENTS_AND_BUSYBOX, listening
from tests.tool.test_tool import TOOL, facts, qga

pytestmark = pytest.mark.forks
ODD = (
    b"\xe9",
    b"\xe8",
    b"ends\n",
    b"a\tb",
    b"back\\slash\\c",
    b"-r",
    b" ",
    b"100%s",
    b"\xff\n",
    b'it\'s "$HOME" `id`',
    b"~",
)


@pytest.fixture(params=AGENTS_AND_BUSYBOX)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with listening(request.param, tmp_path) as path:
        yield path


@pytest.mark.slow
def test_a_tree_of_them_goes_up_whole(address: str, tmp_path: Path) -> None:
    """As files, directories, and links with such a text; and below directories of such names."""
    tree, there = tmp_path / "tree", tmp_path / "there"
    for name in ODD:
        directory = os.fsencode(tree) + b"/d" + name
        os.makedirs(directory)
        Path(os.fsdecode(directory + b"/" + name)).write_bytes(name)
        os.symlink(name, directory + b"/l" + name)
    there.mkdir()
    for _ in range(2):  # the second time over what is there
        done = qga(address, "cp", "-r", str(tree), f":{there}")
        assert (done.returncode, done.stdout) == (0, "")
        assert facts(there / "tree", 10**9) == facts(tree, 10**9)


@pytest.mark.slow
def test_single_files(address: str, tmp_path: Path) -> None:
    for name in ODD:
        (tmp_path / "source").write_bytes(name)
        target = os.fsencode(tmp_path) + b"/" + name
        done = qga(address, "cp", str(tmp_path / "source"), os.fsdecode(b":" + target))
        assert done.returncode == 0, done.stderr
        assert Path(os.fsdecode(target)).read_bytes() == name
    assert not [name for name in os.listdir(tmp_path) if "qga-part" in name]


def test_a_tree_of_them_comes_down_but_for_what_cannot_be_asked_for(address: str, tmp_path: Path) -> None:
    tree, back = tmp_path / "tree", tmp_path / "back"
    tree.mkdir()
    for name in ODD:
        Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_bytes(name)
    done = qga(address, "cp", "-r", f":{tree}", str(back))
    refused = {name for name in ODD if not quoting.is_sayable(os.fsdecode(name))}
    assert done.returncode == exits.FAILED
    assert done.stderr.count("left out") == len(refused) == 3
    assert "tree/\\xe9 was left out: " in done.stderr
    assert set(os.listdir(os.fsencode(back))) == set(ODD) - refused
    for name in set(ODD) - refused:
        assert (back / os.fsdecode(name)).read_bytes() == name


def test_words_of_programs(address: str, tmp_path: Path) -> None:
    words = [os.fsdecode(name) for name in ODD]
    done = subprocess.run(
        [*TOOL, "-c", address, "exec", "--", "printf", "%s.", *words],
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, b"".join(name + b"." for name in ODD))
    with Client(address) as guest:
        assert guest.run(["printf", "%s.", *words]).stdout == b"".join(name + b"." for name in ODD)
        assert guest.run(["sh", "-c", "exit 7", "\udce9"]).returncode == 7
        with pytest.raises(ValueError, match="half a character"):
            guest.run(["echo", "\ud800"])
    directory = os.fsencode(tmp_path) + b"/\xe9"
    os.mkdir(directory)
    open(directory + b"/inside", "w").close()
    assert qga(address, "ls", os.fsdecode(directory)).stdout == "inside\n"


def test_what_takes_no_program_is_refused_by_name(fake_guest: FakeGuest) -> None:
    """In place of what QEMU's agents would make of it: another file."""
    fake_guest.files["/\ufffd"] = bytearray(b"another")
    for words in (["cat", ":/\udce9"], ["tail", "/\udce9"], ["call", "guest-file-open", "path=/\udce9"]):
        done = qga(fake_guest.address, *words)
        assert (done.returncode, done.stdout) == (exits.FAILED, "")
        why = "its arguments cannot be sent: '/\\xe9' is not UTF-8, and JSON carries nothing else"
        assert done.stderr == f"qga: guest-file-open: {why}\n"
    assert "guest-file-open" not in fake_guest.commands
    with Client(fake_guest.address) as guest, pytest.raises(ClientError, match="not UTF-8"):
        guest.run(["env"], env={"A": "\udce9"})
