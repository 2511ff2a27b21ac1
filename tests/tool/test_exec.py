"""exec, as it is typed: stdin that streams, and that nothing is left in the guest, whatever ends it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.tool import exits
from tests.client_agents import AGENTS_AND_BUSYBOX, listening
from tests.typing_at import NAP, TOOL, There, becomes, nothing_left, processes
from tests.until import unchanged, until

pytestmark = [pytest.mark.forks, pytest.mark.slow]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with nothing_left(tmp_path, monkeypatch) as there:
        yield there


@pytest.fixture(params=AGENTS_AND_BUSYBOX)
def words(request: pytest.FixtureRequest, tmp_path: Path, there: There) -> Iterator[list[str]]:
    with listening(request.param, tmp_path) as path:
        yield [*TOOL, "-c", path, "exec"]
        assert becomes(lambda: not there.directories()), there.directories()


def test_stdin_comes_as_it_comes(words: list[str]) -> None:
    command = [*words, "--stdin", "--", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.wait(20) == 0


def test_much_on_stdin(words: list[str], tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    done = subprocess.run([*words, "--stdin", "--", "md5sum"], input=data, capture_output=True, timeout=60)
    assert done.stdout == hashlib.md5(data).hexdigest().encode() + b"  -\n"


def test_a_program_that_does_not_read(words: list[str], there: There, tmp_path: Path) -> None:
    """Not more is taken from stdin than the guest may hold; and the program's end is the end."""
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        go = tmp_path / "go"
        script = f"until [ -e {go} ]; do sleep 0.1; done; head -c 10"
        command = [*words, "--stdin", "--", "sh", "-c", script]
        with subprocess.Popen(command, stdin=endless.stdout, stdout=subprocess.PIPE) as process:
            (directory,) = until(there.directories)
            until(lambda: len(list(directory.glob("in.*"))) > 1)
            unchanged(lambda: sorted(directory.glob("in.*")), 1)
            assert len(list(directory.glob("in.*"))) <= 4
            go.touch()
            assert process.stdout is not None
            assert process.stdout.read() == b"y\n" * 5
            assert process.wait(20) == 0
        endless.kill()


def test_a_timeout_ends_the_whole_group(words: list[str]) -> None:
    script = f"trap '' TERM; sleep {NAP} & sleep {NAP}; :"
    done = subprocess.run([*words, "--timeout", "500ms", "--", "sh", "-c", script], capture_output=True, timeout=60)
    assert done.returncode == exits.COMMAND_TIMED_OUT


def test_a_program_that_writes_without_end_has_its_time(words: list[str]) -> None:
    done = subprocess.run([*words, "--timeout", "1s", "--", "yes"], stdout=subprocess.DEVNULL, timeout=60)
    assert done.returncode == exits.COMMAND_TIMED_OUT


def test_ctrl_c_is_ctrl_c_there(words: list[str], tmp_path: Path) -> None:
    script = f"trap 'echo bye >{tmp_path}/noted; exit' INT; echo begin; sleep {NAP}"
    with subprocess.Popen([*words, "--", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert (tmp_path / "noted").read_text() == "bye\n"


def test_ctrl_c_at_the_beginning(words: list[str], there: There) -> None:
    """As soon as there is something of it in the guest; before, it is tests/tool/test_interrupts.py's."""
    with subprocess.Popen([*words, "--", "sleep", NAP]) as process:
        until(lambda: there.directories() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


@pytest.mark.parametrize("more", [[], ["--stdin"]])
def test_killed_it_leaves_nothing(words: list[str], there: There, more: list[str]) -> None:
    """What was started is ended, also where it ignores SIGTERM."""
    script = f"trap '' TERM; echo begin; sleep {NAP} & sleep {NAP}; sleep {NAP}"
    command = [*words, "--linger", "1s", *more, "--", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        until(lambda: len(processes(f"sleep {NAP}")) == 2)
        unchanged(lambda: processes(f"sleep {NAP}"), 3)  # longer than it lingers: the tool is heard of meanwhile
        assert process.poll() is None
        process.kill()
    assert becomes(lambda: not there.directories())
    assert becomes(lambda: not processes(f"sleep {NAP}"))


def test_what_an_earlier_one_has_left_is_removed(words: list[str], there: There) -> None:
    """Killed before the guest's end was up; the directory of a terminal is another's business."""
    names = {"qga.exec-old": 2.0, "qga.exec-new": 0.1, "qga.terminal": 2.0}
    for name, days in names.items():
        (there.path / name).mkdir()
        (there.path / name / "out").touch()
        os.utime(there.path / name, (time.time() - days * 86_400,) * 2)
    assert subprocess.run([*words, "--", "true"]).returncode == 0
    assert becomes(lambda: {path.name for path in there.directories()} == {"qga.exec-new", "qga.terminal"})
    for path in there.directories():
        shutil.rmtree(path)


def test_after_the_tool_was_killed_ended_programs_leave_nothing(words: list[str], there: There) -> None:
    """And no process that has got the number of one meanwhile is ended: it is known by when it was started."""
    with subprocess.Popen(
        [*words, "--linger", "1s", "--", "sh", "-c", "echo begin; sleep 0.5"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        process.kill()
    assert becomes(lambda: not there.directories())
