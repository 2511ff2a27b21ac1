"""Real forks: what only the kernel can show of running helpers, spawning and reaping."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from qga.agent.linux.host import Outcome
from qga.agent.loop import Loop
from qga.agent.processes import Children, helper, run_helper
from tests.until import until

pytestmark = pytest.mark.forks

PROBES = 2000


def children_of_this_process() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def reap() -> None:
    Children().reap()


@pytest.fixture(autouse=True)
def _nothing_is_left(descriptors: None) -> None:
    """No test here leaves a descriptor open; tests that need reaping do it themselves."""


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
def test_exit_status_comes_back(status: int) -> None:
    assert run_helper(("sh", "-c", f"exit {status}")) == Outcome(status=status)


def test_killed_by_a_signal_is_distinguished_from_exit_0() -> None:
    outcome = run_helper(("sh", "-c", "kill -KILL $$"))
    assert (outcome.ok, outcome.signal, str(outcome)) == (False, signal.SIGKILL, "killed by SIGKILL")


def test_program_that_is_not_there() -> None:
    outcome = run_helper(("qga-no-such-program",))
    assert str(outcome) == "cannot be run: No such file or directory"


def test_program_that_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    assert str(run_helper((str(tmp_path / "data"),))) == "cannot be run: Permission denied"


def test_input_and_output() -> None:
    data = os.urandom(200_000)
    assert run_helper(("wc", "-c"), stdin=data).output == b"200000\n"
    assert run_helper(("sh", "-c", "echo out; echo err >&2; exit 4")) == Outcome(status=4, output=b"out\nerr\n")


def test_only_the_end_of_long_output_is_kept() -> None:
    outcome = run_helper(("sh", "-c", "seq 100000; echo last words"))
    assert len(outcome.output) == helper.MAX_OUTPUT
    assert outcome.output.endswith(b"100000\nlast words\n")


def test_hung_helper_is_ended_with_its_whole_process_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! $$ > {pids}; echo waiting; wait"
    outcome = run_helper(("sh", "-c", script), timeout=0.5)
    assert (outcome.timeout, outcome.output) == (0.5, b"waiting\n")
    assert str(outcome) == "timed out after 0.5 s"
    killed = [int(pid) for pid in pids.read_text().split()]
    until(lambda: all(map(is_gone, killed)))


def is_gone(pid: int) -> bool:
    """Return whether the process is dead, or a zombie that init has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_background_process_that_holds_the_output_does_not_block() -> None:
    begun = time.monotonic()
    outcome = run_helper(("sh", "-c", "sleep 20 & echo $!"), timeout=15)
    assert time.monotonic() - begun < 10
    assert outcome.status == 0
    os.kill(int(outcome.output), signal.SIGKILL)


LATER = "(until [ -e {0}/go ]; do sleep 0.02; done; head -c 300000 /dev/zero; echo $? >{0}/rc; mv {0}/rc {0}/ended) &"


def test_a_background_process_of_a_helper_may_still_write(tmp_path: Path) -> None:
    """It may write any amount, also more than a pipe holds."""
    assert run_helper(("sh", "-c", LATER.format(tmp_path) + " echo done; exit 3")) == Outcome(
        status=3, output=b"done\n"
    )
    (tmp_path / "go").touch()
    until((tmp_path / "ended").exists)
    assert (tmp_path / "ended").read_text() == "0\n"


def test_helper_whose_agent_is_killed_goes_on_to_its_end(tmp_path: Path) -> None:
    asking_process = os.fork()
    if asking_process == 0:
        try:
            run_helper(("sh", "-c", LATER.format(tmp_path).removesuffix("&")))
        finally:
            os._exit(0)
    until(lambda: attendants_program(asking_process))
    os.kill(asking_process, signal.SIGKILL)
    os.waitpid(asking_process, 0)
    (tmp_path / "go").touch()
    until((tmp_path / "ended").exists)
    assert (tmp_path / "ended").read_text() == "0\n"


def attendants_program(pid: int) -> str:
    """Return the grandchildren of a process."""

    def children(pid: int) -> list[str]:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    return "".join(" ".join(children(int(child))) for child in children(pid))


def test_output_that_does_not_end_does_not_hide_the_end(tmp_path: Path) -> None:
    """The end of the program is noticed although a process that it leaves behind writes without a pause."""
    outcome = run_helper(("sh", "-c", f"yes & echo $! >{tmp_path}/pid; exit 5"), timeout=20)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert outcome.status == 5


def test_death_of_the_waiting_child_is_an_error() -> None:
    outcome = run_helper(("sh", "-c", "kill -KILL $PPID; sleep 0.2"))
    assert not outcome.ok
    assert str(outcome) == "cannot be run: No child processes"


def test_fork_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fail)
    assert str(run_helper(("true",))) == "cannot be run: Resource temporarily unavailable"


def test_helper_has_default_signals_and_a_session_of_its_own() -> None:
    plain = run_helper(("sh", "-c", "grep SigIgn /proc/self/status; grep SigBlk /proc/self/status"))
    ignored, blocked = (int(line.split()[1], 16) for line in plain.output.decode().splitlines())
    assert not ignored & (1 << (signal.SIGPIPE - 1))
    assert blocked == 0
    assert run_helper((sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())")).output == b"True\n"


def test_helper_inherits_nothing_but_its_standard_descriptors() -> None:
    kept = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        outcome = run_helper(("ls", "/proc/self/fd"))
    finally:
        os.close(kept)
    assert outcome.output.split() == [b"0", b"1", b"2", b"3"]  # 3 is the directory that ls itself reads


@pytest.mark.slow
def test_two_thousand_probes_leave_no_zombie_and_no_descriptor() -> None:
    """The agent's own loop reaps on SIGCHLD; nothing else waits for a child in between."""
    children, loop = Children(), Loop()
    before = len(os.listdir("/proc/self/fd"))
    loop.on_signal(signal.SIGCHLD, children.reap)
    wrong: list[Outcome] = []
    left = PROBES

    def probe() -> None:
        nonlocal left
        for _ in range(20):
            expected = left % 2
            outcome = run_helper(("true",) if expected == 0 else ("false",))
            if outcome.status != expected:
                wrong.append(outcome)
            left -= 1
        loop.call_later(0 if left else 0.2, probe if left else loop.stop)

    loop.call_later(0, probe)
    try:
        loop.run()
        assert wrong == []
        assert left == 0
        assert children_of_this_process() == []
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        loop.close()


@pytest.mark.slow
def test_probe_is_right_while_other_children_die_around_it() -> None:
    """Spawned programs end all the time, some with the same statuses, and are reaped between the probes."""
    children, loop = Children(), Loop()
    loop.on_signal(signal.SIGCHLD, children.reap)
    ended: list[int] = []
    answers: list[int | None] = []
    null = os.open(os.devnull, os.O_RDWR)

    def step() -> None:
        for status in (0, 7):
            children.spawn("/bin/sh", ["sh", "-c", f"exit {status}"], {}, (null, null, null), ended.append)
        answers.append(run_helper(("sh", "-c", "sleep 0.01; exit 42")).status)
        if len(answers) < 50:
            loop.call_later(0, step)
        else:
            loop.call_later(0.3, loop.stop)

    loop.call_later(0, step)
    try:
        loop.run()
    finally:
        loop.close()
        os.close(null)
    assert answers == [42] * 50
    assert sorted(map(os.waitstatus_to_exitcode, ended)) == [0] * 50 + [7] * 50
    assert len(children) == 0
    assert children_of_this_process() == []


def test_spawned_program_gets_its_descriptors_and_its_status_is_kept() -> None:
    children = Children()
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    ended: list[int] = []
    pid = children.spawn(
        "/bin/sh", ["sh", "-c", "echo $WORD; kill -TERM $$"], {"WORD": "hello"}, (null, writing, null), ended.append
    )
    os.close(writing)
    os.close(null)
    with open(reading, "rb") as output:
        assert output.read() == b"hello\n"

    def reaped() -> list[int]:
        children.reap()
        return ended

    until(reaped)
    assert os.WTERMSIG(ended[0]) == signal.SIGTERM
    assert pid > 0


def test_spawning_a_missing_program_raises_and_leaves_no_record() -> None:
    children = Children()
    with pytest.raises(FileNotFoundError):
        children.spawn("/nonexistent", ["x"], {}, (0, 1, 2), lambda status: None)
    assert len(children) == 0


@pytest.fixture(autouse=True)
def _reap_after() -> object:
    yield

    def buried() -> bool:
        reap()
        return not children_of_this_process()

    until(buried)
