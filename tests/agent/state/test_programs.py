"""Programs that guest-exec started, real ones: what they get, what comes back, and when they are forgotten."""

from __future__ import annotations

import base64
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from qga.agent.binding import bind
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host
from qga.agent.loop import Loop
from qga.agent.processes import Children
from qga.agent.state import programs
from qga.agent.state.programs import Program, Programs
from qga.protocol import schema
from tests.conftest import carried_out, failed
from tests.contexts import context

pytestmark = pytest.mark.forks

PATIENCE = 20.0  # seconds; this may be a busy machine


class Runner:
    """An agent's guest-exec, with a loop that runs while a test waits for a program."""

    def __init__(self, host: Host) -> None:
        self.loop = Loop()
        children = Children()
        commands = schema.load()
        self.ctx = context(host, commands, loop=self.loop, children=children)
        self.loop.on_signal(signal.SIGCHLD, children.reap)
        self._dispatcher = Dispatcher(self.ctx, bind(commands))

    def ask(self, name: str, **arguments: object) -> Any:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        reply = carried_out(self._dispatcher, {"execute": name, "arguments": given})
        assert reply is not None
        return reply.body

    def start(self, *argv: str, **arguments: object) -> int:
        path, *arg = argv
        body = self.ask("guest-exec", path=path, arg=arg, **arguments)
        assert "return" in body, body
        pid: int = body["return"]["pid"]
        return pid

    def status(self, pid: int) -> Any:
        return self.ask("guest-exec-status", pid=pid)["return"]

    def turn(self) -> None:
        """Run one iteration of the loop."""
        self.loop.call_later(0.01, self.loop.stop)
        self.loop.run()
        self.loop._stopped = False

    def wait(self, pid: int) -> dict[str, Any]:
        """Wait for a program; return its guest-exec-status with the output decoded."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.turn()
            ended: dict[str, Any] = self.status(pid)
            if ended["exited"]:
                break
            assert ended == {"exited": False}
            assert time.monotonic() < deadline
        for stream in ("out-data", "err-data"):
            if stream in ended:
                ended[stream] = base64.b64decode(ended[stream])
        return ended

    def run(self, *argv: str, **arguments: object) -> dict[str, Any]:
        return self.wait(self.start(*argv, **arguments))


@pytest.fixture
def runner(host: Host, descriptors: None) -> Iterator[Runner]:
    runner = Runner(host)
    yield runner
    runner.loop.close()


BOTH = ("sh", "-c", "echo out; echo err >&2")
OUT = {"out-data": b"out\n", "out-truncated": False}
ERR = {"err-data": b"err\n", "err-truncated": False}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("none", {}),
        (False, {}),
        ("stdout", OUT),
        ("stderr", ERR),
        ("separated", OUT | ERR),
        (True, OUT | ERR),
        ("merged", {"out-data": b"out\nerr\n", "out-truncated": False}),
    ],
)
def test_capture_modes(runner: Runner, mode: object, expected: dict[str, object]) -> None:
    for _ in range(3):  # QEMU's agent spoils its own descriptors by some of them
        assert runner.run(*BOTH, capture_output=mode) == {"exited": True, "exitcode": 0, **expected}


def test_exit_status_and_signal(runner: Runner) -> None:
    assert runner.run("sh", "-c", "exit 7") == {"exited": True, "exitcode": 7}
    assert runner.run("sh", "-c", "kill -TERM $$") == {"exited": True, "signal": 15}


def test_a_result_is_returned_once(runner: Runner) -> None:
    pid = runner.start("true")
    runner.wait(pid)
    assert runner.ask("guest-exec-status", pid=pid) == failed(f"PID {pid} does not exist")


def test_input(runner: Runner) -> None:
    data = os.urandom(3_000_000)
    ended = runner.run("cat", input_data=base64.encodebytes(data).decode(), capture_output=True)
    assert ended["out-data"] == data
    assert runner.run("cat", input_data="", capture_output=True) == {"exited": True, "exitcode": 0}
    assert runner.run("cat", capture_output=True) == {"exited": True, "exitcode": 0}
    assert runner.run("true", input_data=base64.b64encode(data).decode()) == {"exited": True, "exitcode": 0}
    assert runner.ask("guest-exec", path="true", input_data="?") == failed("Base64 data contains invalid characters")


def test_environment(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN", "agent's")
    assert b"OWN=agent's\n" in runner.run("env", capture_output=True)["out-data"]
    entries = ["A=1=2", "A=3", "B=", "nothing", "=x", "Ü=ü"]
    ended = runner.run("/usr/bin/env", env=entries, capture_output=True)
    assert set(ended["out-data"].decode().split("\n")) == {"A=1=2", "B=", "Ü=ü", ""}
    assert "out-data" not in runner.run("/usr/bin/env", env=[], capture_output=True)


def test_found_through_the_path_that_was_given(runner: Runner, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory, mode in ((first, 0o644), (second, 0o755)):
        directory.mkdir()
        (directory / "tool").write_text("#!/bin/sh\necho $0 $*\n")
        (directory / "tool").chmod(mode)
    ended = runner.run("tool", "a b", env=[f"PATH={first}:{second}"], capture_output=True)
    assert ended["out-data"] == f"{second}/tool a b\n".encode()
    assert runner.ask("guest-exec", path="tool", env=[f"PATH={first}"]) == failed(
        "Failed to execute child process “tool” (Permission denied)"
    )
    assert runner.ask("guest-exec", path="tool") == failed(
        "Failed to execute child process “tool” (No such file or directory)"
    )
    assert runner.run("sh", "-c", "true", env=["A=1"])["exitcode"] == 0


def test_script_without_an_interpreter_line(runner: Runner, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 $1"\n')
    script.chmod(0o755)
    assert runner.run(str(script), "x", capture_output=True)["out-data"] == f"{script} x\n".encode()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/no/such/program", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        ("/etc/passwd/x", "Not a directory"),
        ("/etc", "Permission denied"),
        ("", "No such file or directory"),
    ],
)
def test_cannot_be_started(runner: Runner, path: str, reason: str) -> None:
    for capture in (False, "merged"):
        assert runner.ask("guest-exec", path=path, capture_output=capture) == failed(
            f"Failed to execute child process “{path}” ({reason})"
        )


def test_interpreter_that_is_missing(runner: Runner, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert runner.ask("guest-exec", path=str(script), capture_output=True) == failed(
        f"Failed to execute child process “{script}” (No such file or directory)"
    )


def test_unknown_pids(runner: Runner) -> None:
    for pid in (0, -1, 2**63 - 1):
        assert runner.ask("guest-exec-status", pid=pid) == failed(f"PID {pid} does not exist")


def test_output_is_cut_at_16_mib(runner: Runner) -> None:
    for size, cut in ((programs.MAX_OUTPUT, False), (programs.MAX_OUTPUT + 1, True)):
        ended = runner.run("head", "-c", str(size), "/dev/zero", capture_output=True)
        assert (len(ended["out-data"]), ended["out-truncated"]) == (programs.MAX_OUTPUT, cut)


def test_not_exited_while_another_process_holds_the_output(runner: Runner) -> None:
    pid = runner.start("sh", "-c", "echo here; sleep 30 & echo $!", capture_output="stdout")
    deadline = time.monotonic() + PATIENCE
    program = runner.ctx.programs.find(pid)
    assert program is not None
    while program.status is None:
        runner.turn()
        assert time.monotonic() < deadline
    assert runner.status(pid) == {"exited": False}
    while program.out.data().count(b"\n") < 2:
        runner.turn()
    os.kill(int(program.out.data().split()[1]), signal.SIGKILL)
    assert runner.wait(pid)["out-data"].startswith(b"here\n")


def test_program_gets_none_of_the_agents_descriptors_and_its_signals_back(runner: Runner) -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        held = runner.run("sh", "-c", "ls /proc/self/fd", capture_output=True)["out-data"].split()
        lines = runner.run("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status", capture_output=True)["out-data"]
    finally:
        signal.signal(signal.SIGPIPE, before)
    inherited = {number for number in map(int, os.listdir("/proc/self/fd")) if is_inheritable(number)}
    assert set(map(int, held)) <= {0, 1, 2, 3} | inherited  # its three, the directory that ls reads
    pipe = 1 << signal.SIGPIPE - 1
    assert [int(line.split()[1], 16) & pipe for line in lines.splitlines()] == [0, 0]


def is_inheritable(descriptor: int) -> bool:
    """Return whether programs inherit this descriptor, as some that the caller of the tests left open are."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # the one that listed them
        return False


class TestForgetting:
    def finish(self, runner: Runner, *argv: str, capture: object = False) -> int:
        """Start a program and wait until it has ended, without fetching its status."""
        pid = runner.start(*argv, capture_output=capture)
        program = runner.ctx.programs.find(pid)
        deadline = time.monotonic() + PATIENCE
        while program is not None and not program.exited:
            runner.turn()
            assert time.monotonic() < deadline
        return pid

    def known(self, runner: Runner, pid: int) -> bool:
        return runner.ctx.programs.find(pid) is not None

    def test_finished_programs_beyond_the_count_limit_are_dropped(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(programs, "MAX_FINISHED", 2)
        running = runner.start("sleep", "30")
        pids = [self.finish(runner, "true") for _ in range(3)]
        assert [self.known(runner, pid) for pid in pids] == [False, True, True]
        os.kill(running, signal.SIGKILL)
        assert runner.wait(running) == {"exited": True, "signal": 9}

    def test_too_much(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(programs, "MAX_KEPT", 1000)
        pids = [self.finish(runner, "head", "-c", "600", "/dev/zero", capture=True) for _ in range(2)]
        assert [self.known(runner, pid) for pid in pids] == [False, True]
        huge = self.finish(runner, "head", "-c", "5000", "/dev/zero", capture=True)
        assert self.known(runner, huge)

    def test_too_old(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(programs, "MAX_AGE", 0.2)
        pid = self.finish(runner, "true")
        assert self.known(runner, pid)
        deadline = time.monotonic() + PATIENCE
        while self.known(runner, pid):
            runner.turn()
            assert time.monotonic() < deadline

    def test_each_is_too_old_an_hour_after_its_own_end(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        """It does not wait for the repeated timer of an earlier program, which could take two hours."""
        clock = Clock()
        monkeypatch.setattr(time, "monotonic", lambda: clock.now)
        kept = Programs(cast(Loop, clock), Children(), lambda pid, code: None)
        ends: dict[int, float] = {}
        for pid, at in enumerate((100.0, 1000.0, 1001.0, 3000.0), start=1):
            clock.run_until(at)
            program = Program({})
            program.pid, program.status = pid, 0
            kept._programs.append(program)
            kept._on_change(program)
            ends[pid] = at
        for pid, at in ends.items():
            clock.run_until(at + programs.MAX_AGE - 0.5)
            assert kept.find(pid) is not None
            clock.run_until(at + programs.MAX_AGE + 0.5)
            assert kept.find(pid) is None
        assert clock.timers == []


class Clock:
    """The timers of a loop whose clock the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.now + delay, callback))

    def run_until(self, at: float) -> None:
        while due := [timer for timer in self.timers if timer[0] <= at]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = first[0]
            first[1]()
        self.now = max(self.now, at)


class TestRevoked:
    def test_what_ignores_sigterm_is_killed_with_what_it_has_started(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(programs, "GRACE", 0.2)
        os.mkfifo(tmp_path / "ready")
        child = f"trap '' TERM; echo $$ > {tmp_path}/ready; while :; do read x < {tmp_path}/never; done"
        os.mkfifo(tmp_path / "never")
        pid = runner.start(
            "sh",
            "-c",
            f'trap "" TERM; sh -c "$0" & wait; wait; read x < {tmp_path}/never',
            child,
            capture_output=True,
        )
        pids = (pid, int((tmp_path / "ready").read_text()))
        held = [os.pidfd_open(number) for number in pids]
        program = runner.ctx.programs.find(pid)
        assert program is not None
        runner.ctx.programs.revoke(program)
        assert runner.ask("guest-exec-status", pid=pid) == failed(f"PID {pid} does not exist")
        assert runner.ctx.programs.started() == []
        deadline = time.monotonic() + PATIENCE
        while len(select.select(held, [], [], 0)[0]) < 2 or runner.ctx.programs._programs:
            runner.turn()
            assert time.monotonic() < deadline
        for descriptor in held:
            os.close(descriptor)
        assert program.status is not None
        assert os.waitstatus_to_exitcode(program.status) == -signal.SIGKILL

    def test_a_program_that_ends_at_once_is_forgotten_with_its_output(self, runner: Runner) -> None:
        pid = runner.start(
            "sh", "-c", "trap 'echo late; exit 3' TERM; echo out; kill -STOP $$; read x", capture_output=True
        )
        program = runner.ctx.programs.find(pid)
        assert program is not None
        deadline = time.monotonic() + PATIENCE
        while program.out.size < 4:
            runner.turn()
            assert time.monotonic() < deadline
        runner.ctx.programs.revoke(program)
        os.kill(pid, signal.SIGCONT)
        while runner.ctx.programs._programs:
            runner.turn()
            assert time.monotonic() < deadline
        assert program.status is not None
        assert os.waitstatus_to_exitcode(program.status) == 3
        assert program.out.data() == b"out\n"
        assert runner.ctx.programs._captured == 0
        runner.ctx.programs.close()

    def test_the_agent_does_not_end_before_the_programs_it_is_ending(self, runner: Runner) -> None:
        pid = runner.start("sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done", capture_output=True)
        program = runner.ctx.programs.find(pid)
        assert program is not None
        while not program.out.size:
            runner.turn()
        runner.ctx.programs.revoke(program)
        runner.ctx.programs.close()
        held = os.pidfd_open(pid)
        assert select.select([held], [], [], PATIENCE)[0]
        os.close(held)
        while runner.ctx.programs._programs:
            runner.turn()

    def test_a_program_whose_output_others_hold_open_is_released(self, runner: Runner) -> None:
        pid = runner.start("sh", "-c", "sleep 1000 & echo $!", capture_output=True)
        program = runner.ctx.programs.find(pid)
        assert program is not None
        while program.status is None or not program.out.size:
            runner.turn()
        assert not program.exited
        runner.ctx.programs.revoke(program)
        assert runner.ctx.programs._programs == []
        os.kill(int(program.out.data()), signal.SIGKILL)

    def test_arguments_that_are_too_large_are_not_kept(self, runner: Runner) -> None:
        small, large = (runner.start("true", "x" * size) for size in (10, programs.MAX_ARGUMENTS))
        arguments = {program.pid: program.arguments for program in runner.ctx.programs.started()}
        assert arguments[small] == {
            "path": "true",
            "arg": ["x" * 10],
            "env": None,
            "input-data": None,
            "capture-output": False,
        }
        assert arguments[large] is None
        for pid in (small, large):
            runner.wait(pid)
