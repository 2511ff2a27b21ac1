"""Workers: work in real processes beside a real loop."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from qga.agent.loop import Loop
from qga.agent.processes import (
    Children,
    NotStartedError,
    WorkerDiedError,
    Workers,
    attempt,
    begin,
    run_helper,
    workers,
)
from qga.agent.tasks import Pending
from qga.protocol.errors import CommandError
from tests.until import until

pytestmark = [pytest.mark.forks, pytest.mark.usefixtures("descriptors")]

T = TypeVar("T")
SOON = 20.0  # seconds that anything may take


class Machine:
    def __init__(self) -> None:
        self.loop = Loop()
        self.workers = Workers(self.loop)
        self.loop.on_signal(signal.SIGCHLD, Children().reap)

    def wait(self, *pending: Pending[T]) -> T:
        """Run the loop until the last task has finished, and return its result."""
        left = len(pending)

        def count() -> None:
            nonlocal left
            left -= 1
            if not left:
                self.loop.stop()

        for one in pending:
            one.then(count)
        guard = self.loop.call_later(SOON, self.loop.stop)
        self.loop._stopped = not left
        self.loop.run()
        guard.cancel()
        assert all(one.done for one in pending), "it takes too long"
        return pending[-1].result()


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.loop.close()


def test_result_and_failure_of_a_worker(machine: Machine) -> None:
    assert machine.wait(machine.workers(os.getpid)) != os.getpid()
    result = {"a": [1, "b\udc80", None, 1.5, True], "c": b"\xff"}
    assert machine.wait(machine.workers(lambda: result)) == result

    def refuse() -> None:
        raise CommandError("not today")

    with pytest.raises(CommandError, match=r"^not today$"):
        machine.wait(machine.workers(refuse))
    with pytest.raises(CommandError, match=r"^internal error: ZeroDivisionError: "):
        machine.wait(machine.workers(lambda: 1 // 0))
    assert len(machine.workers) == 0


def test_large_result(machine: Machine) -> None:
    assert machine.wait(machine.workers(lambda: b"x" * 5_000_000)) == b"x" * 5_000_000


def test_log_lines_of_a_worker_are_logged_by_the_agent(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        logging.getLogger("qga.agent.linux.power").warning("the guest has %s", "slept")
        raise CommandError("but")

    with pytest.raises(CommandError):
        machine.wait(machine.workers(work))
    assert [(r.name, r.levelname, r.getMessage()) for r in caplog.records] == [
        ("qga.agent.linux.power", "WARNING", "the guest has slept")
    ]


def test_worker_has_no_descriptor_of_the_agent(machine: Machine) -> None:
    def look() -> dict[str, str]:
        own = "/proc/self/fd"
        return {fd: os.readlink(f"{own}/{fd}") for fd in os.listdir(own) if os.path.lexists(f"{own}/{fd}")}

    with open(__file__):
        found = machine.wait(machine.workers(look))
    assert [found.pop(fd) for fd in "012"] == ["/dev/null"] * 3
    assert [kind.partition(":")[0] for kind in found.values()] == ["pipe"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_worker_that_is_killed(machine: Machine, number: int) -> None:
    with pytest.raises(WorkerDiedError, match=r"^the process that carried it out ended without a result$"):
        machine.wait(machine.workers(lambda: os.kill(os.getpid(), number)))


def test_worker_that_takes_too_long_cleans_up(machine: Machine, tmp_path: Path) -> None:
    """The helper that the worker runs ends with it."""

    def work() -> None:
        try:
            run_helper(["sh", "-c", f"echo $$ > {tmp_path}/helper; sleep 600"])
        finally:
            (tmp_path / "undone").touch()

    with pytest.raises(WorkerDiedError, match=r"^timed out after 0\.5 s$"):
        machine.wait(machine.workers(work, limit=0.5))
    assert (tmp_path / "undone").exists()
    helper = int((tmp_path / "helper").read_text())
    gone_by(lambda: os.kill(helper, 0), ProcessLookupError)


def gone_by(look: Callable[[], object], error: type[Exception]) -> None:
    def gone() -> bool:
        try:
            look()
        except error:
            return True
        return False

    until(gone)


def test_worker_that_does_not_end_is_killed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "END_GRACE", 0.2)

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)

    with pytest.raises(WorkerDiedError, match=r"^timed out after 0\.1 s$"):
        machine.wait(machine.workers(work, limit=0.1))


def test_workers_run_beside_each_other_up_to_a_bound(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(workers, "MAX_WORKERS", 3)

    def met(number: int) -> None:
        """Return once all three workers run at the same time."""
        (tmp_path / str(number)).touch()
        until(lambda: len(list(tmp_path.iterdir())) == 3)

    three = [machine.workers(partial(met, number)) for number in range(3)]
    with pytest.raises(NotStartedError, match=r"^3 slow commands are under way already$"):
        machine.workers(os.getpid).result()
    machine.wait(*three)
    machine.wait(machine.workers(os.getpid))


def test_fork_that_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError(11, os.strerror(11))

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(NotStartedError, match=r"^failed to create child process: Resource temporarily unavailable$"):
        machine.workers(os.getpid).result()


def agent_that_is_killed(work: Callable[[], None], begun: Path, orphaned: int | None) -> None:
    """Kill a process that has a worker as soon as the file ``begun`` exists."""
    agent = os.fork()
    if agent == 0:
        Machine().workers(work, orphaned=orphaned)
        until(begun.exists)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(agent, 0)


@pytest.mark.parametrize(
    ("orphaned", "done", "undone"),
    [(None, True, True), (signal.SIGTERM, False, True), (signal.SIGKILL, False, False)],
)
def test_worker_whose_agent_is_killed(tmp_path: Path, orphaned: int | None, done: bool, undone: bool) -> None:
    """A worker that must not continue is ended, with or without a chance to clean up; the others finish."""

    def work() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        (tmp_path / "pid").rename(tmp_path / "begun")
        try:
            agent = os.getppid()
            until(lambda: done and os.getppid() != agent)
            (tmp_path / "done").touch()
        finally:
            (tmp_path / "undone").touch()

    agent_that_is_killed(work, tmp_path / "begun", orphaned)
    worker = int((tmp_path / "begun").read_text())
    gone_by(lambda: os.kill(worker, 0), ProcessLookupError)
    assert ((tmp_path / "done").exists(), (tmp_path / "undone").exists()) == (done, undone)


def test_worker_whose_agent_was_dead_before_it_began(tmp_path: Path) -> None:
    """The worker would otherwise never learn that the agent is dead."""
    done = tmp_path / "done"
    child = os.fork()
    if child == 0:
        try:
            workers._be_worker(done.touch, signal.SIGTERM, 1 << 22, os.open(os.devnull, os.O_WRONLY))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not done.exists()


def test_waiting_for_a_worker_without_the_loop(machine: Machine, tmp_path: Path) -> None:
    """Workers that end with the agent are ended earlier; one that takes too long survives."""

    def work() -> None:
        try:
            (tmp_path / "begun").touch()
            time.sleep(600)
        finally:
            (tmp_path / "undone").touch()

    ended = machine.workers(work, orphaned=signal.SIGTERM)
    until((tmp_path / "begun").exists)
    assert machine.workers.wait(os.getpid, SOON) != os.getpid()
    until((tmp_path / "undone").exists)
    with pytest.raises(WorkerDiedError):
        machine.wait(ended)

    def refuse() -> None:
        raise CommandError("not today")

    with pytest.raises(CommandError, match=r"^not today$"):
        machine.workers.wait(refuse, SOON)

    def late() -> None:
        until((tmp_path / "go").exists)
        (tmp_path / "late").touch()

    with pytest.raises(WorkerDiedError, match=r"^it is not over after 0\.1 s, and goes on without the agent$"):
        machine.workers.wait(late, 0.1)
    (tmp_path / "go").touch()
    until((tmp_path / "late").exists)


# Calls that can be given up


@contextmanager
def _into(path: Path, result: str) -> Iterator[str]:
    try:
        (path / "begun").touch()
        until((path / "go").exists)
        yield result
    except BrokenPipeError:
        (path / "undone").touch()


def test_answer_of_a_call(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    assert begin(lambda: _into(tmp_path, "done")).answer() == "done"
    assert not (tmp_path / "undone").exists()


def test_abandoned_call_is_undone_when_it_returns(tmp_path: Path) -> None:
    call = begin(lambda: _into(tmp_path, "done"))
    until((tmp_path / "begun").exists)
    call.give_up()
    (tmp_path / "go").touch()
    until((tmp_path / "undone").exists)


def test_call_that_is_no_longer_awaited_is_not_begun(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = os.fork()
    if child == 0:
        attempt._carry_out(lambda: _into(tmp_path, "done"), (), writing)
    os.close(writing)
    os.waitpid(child, 0)
    assert not (tmp_path / "begun").exists()


def test_call_keeps_the_given_descriptors_and_no_signal_ends_it(tmp_path: Path) -> None:
    @contextmanager
    def look() -> Iterator[list[str]]:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            os.kill(os.getpid(), number)
        yield sorted(
            os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
            for fd in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{fd}")
        )

    with open(__file__), open(tmp_path / "kept", "w") as kept:
        assert begin(look, (kept.fileno(),)).answer() == [kept.name, "pipe"]


def test_call_whose_process_is_killed() -> None:
    @contextmanager
    def die() -> Iterator[None]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    with pytest.raises(WorkerDiedError, match=r"^the process that made a system call ended without a result$"):
        begin(die).answer()
