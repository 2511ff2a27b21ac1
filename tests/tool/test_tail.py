"""qga tail against real agents and real files: any number of lines, and files that are truncated or replaced."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.tool import exits
from tests.client_agents import AGENTS, listening
from tests.tool.test_tool import TOOL, qga

pytestmark = [pytest.mark.forks, pytest.mark.slow]


@pytest.fixture(params=AGENTS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with listening(request.param, tmp_path) as path:
        yield path


CONTENTS = {
    "lines": "".join(f"line {n}\n" for n in range(300_000)).encode(),  # 3.5 MB
    "no end": b"a\nb\nc",
    "one long line": b"x" * 700_000 + b"\n" + b"y" * 700_000,
    "blank lines": b"\n" * 5000,
    "empty": b"",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_prints_what_tail_prints(address: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENTS[name])
    for number in ("0", "2", "250000", "9" * 30, "-3", "+0", "+3", "+299999"):
        expected = subprocess.run(["tail", "-n", number[:19], path], capture_output=True, check=True).stdout
        done = subprocess.run([*TOOL, "-c", address, "tail", "-n", number, str(path)], capture_output=True)
        assert (done.returncode, done.stdout == expected, done.stderr) == (0, True, b""), number


@pytest.mark.parametrize("number", ["x", "", "1k", "1.5", "٣", "- 3"])
def test_what_is_not_a_number_of_lines(number: str) -> None:
    done = qga("", "tail", f"--lines={number}", "/x")
    assert (done.returncode, "expected such as 10, or +3" in done.stderr) == (exits.USAGE, True)


def test_files_that_do_not_say_their_size(address: str) -> None:
    for path in ("/proc/self/mounts", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/sys/kernel/ostype"):
        if os.path.exists(path):
            done = qga(address, "tail", "-n", "1", path)
            assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), path


class Following:
    """``qga tail`` as it runs: what it prints on either stream."""

    def __init__(self, address: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [*TOOL, "-c", address, "tail", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()

    def prints(self, expected: str) -> None:
        """The next that comes, of either stream."""
        seen = b""
        while len(seen) < len(expected.encode()):
            assert select.select([self._out], [], [], 30)[0], seen
            piece = os.read(self._out, 65536)
            assert piece, seen
            seen += piece
        assert seen.decode() == expected

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(30)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def following(address: str, tmp_path: Path) -> Iterator[tuple[Path, Following]]:
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    with contextlib.closing(_Stopped(Following(address, "-f", "-n", "1", str(path)))) as stopped:
        stopped.follower.prints("two\n")
        yield path, stopped.follower


class _Stopped:
    def __init__(self, follower: Following) -> None:
        self.follower = follower

    def close(self) -> None:
        self.follower.stop()


def test_what_is_added(following: tuple[Path, Following]) -> None:
    path, follower = following
    for text in ("three\n", "half", " a line\n"):
        with path.open("a") as file:
            file.write(text)
        follower.prints(text)
    assert follower.interrupt() == 130


def test_a_file_that_is_truncated(following: tuple[Path, Following]) -> None:
    path, follower = following
    path.write_text("new\n")
    follower.prints(f"qga: {path}: file truncated\nnew\n")
    with path.open("a") as file:
        file.write("more\n")
    follower.prints("more\n")


@pytest.mark.parametrize("size", [0, 8, 100], ids=["smaller", "the same size at first", "larger"])
def test_a_file_that_is_replaced(following: tuple[Path, Following], size: int) -> None:
    """As logrotate does: what was written to the old one last is shown as well."""
    path, follower = following
    new = path.with_name("new")
    new.write_text("n" * size)
    os.rename(path, path.with_name("log.1"))
    os.rename(new, path)
    if size == 8:
        with path.open("a") as file:
            file.write("!")
    follower.prints(f"qga: {path} has been replaced; following new file\n{path.read_text()}")
    with path.open("a") as file:
        file.write("more\n")
    follower.prints("more\n")


def test_a_file_that_is_gone_for_a_while(following: tuple[Path, Following]) -> None:
    path, follower = following
    os.unlink(path)
    follower.prints(f"qga: {path} has become inaccessible: {_why(path)}\n")
    path.write_text("a new one\n")
    follower.prints(f"qga: {path} has been replaced; following new file\na new one\n")


def test_one_that_is_not_there_yet(address: str, tmp_path: Path) -> None:
    path = tmp_path / "later"
    assert qga(address, "tail", "-f", str(path)).returncode == exits.FAILED
    follower = Following(address, "-F", str(path))
    try:
        follower.prints(f"qga: {path} cannot be opened: {_why(path)}\n")
        path.write_text("here\n")
        follower.prints(f"qga: {path} has appeared; following new file\nhere\n")
        assert follower.interrupt() == 130
    finally:
        follower.stop()


def _why(path: Path) -> str:
    return f"failed to open file '{path}' (mode: 'r'): No such file or directory"
