"""What programs inherit from the agent: no descriptor and no signal; and nothing leaks at the descriptor limit."""

from __future__ import annotations

import base64
import errno
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qga.agent.linux.host import Outcome
from qga.agent.loop import Loop
from qga.agent.processes import Children, Workers, keep_descriptors, run_as, run_helper
from qga.agent.state.programs import Capture, Programs
from qga.agent.tasks import Pending
from qga.protocol.errors import CommandError
from tests.agent.processes.test_processes import children_of_this_process
from tests.agent.processes.test_run_as import ME
from tests.agent.state.test_freeze import Machine, machine
from tests.running import RunningAgent
from tests.until import until

__all__ = ["machine"]

pytestmark = [pytest.mark.forks, pytest.mark.usefixtures("descriptors")]

SOON = 20.0  # seconds that anything may take
STEPS = 16  # descriptors beyond those in use: more than anything here needs
EMFILE = os.strerror(errno.EMFILE)

# What a program of a shell script has: the signals that are blocked, ignored and caught, and its descriptors.
LOOK = "sed -nE '/^Sig(Ign|Cgt|Blk)/p' /proc/self/status; ls /proc/self/fd"
UNTOUCHED = "".join(f"Sig{kind}:\t{0:016x}\n" for kind in ("Blk", "Ign", "Cgt")) + "0\n1\n2\n3\n"  # 3 is ls's own


def found(text: str) -> str:
    """What LOOK has printed, but for signals 32 and 33, which glibc keeps for its threads.

    Its posix_spawn(3), by which make(1) starts us and the agent starts programs, ignores them, and sigaction(2) as
    glibc has it changes neither.
    """
    return re.sub(r"(?<=SigIgn:\t0000000)[01][08](?=0000000\n)", "00", text)


@pytest.fixture(autouse=True)
def _reap_after() -> Iterator[None]:
    yield

    def alone() -> bool:
        Children().reap()
        return not children_of_this_process()

    until(alone)


def open_descriptors() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


@contextmanager
def at_most(extra: int) -> Iterator[None]:
    """Leave room for exactly this many more descriptors: RLIMIT_NOFILE, with every gap below it filled."""
    fillers = []
    highest = max(open_descriptors())
    while (filler := os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) < highest:
        fillers.append(filler)
    os.close(filler)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + 1 + extra, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        leaked = {number: os.readlink(f"/proc/self/fd/{number}") for number in open_descriptors() - before}
        for number in (*fillers, *leaked):
            os.close(number)
        assert leaked == {}


def with_every_number(act: Callable[[], str]) -> list[str]:
    """Return the outcomes with room for 0, 1, 2, … descriptors, asserting that none leaks."""
    said = []
    for extra in range(STEPS):
        with at_most(extra):
            said.append(act())
    return said


def once_it_works_it_works(said: list[str], refusals: set[str]) -> None:
    assert said[0] in refusals
    assert said[-1] == "done", f"{said[-1]}, with {sorted(open_descriptors())} open"
    works = said.index("done")
    assert set(said[:works]) <= refusals
    assert set(said[works:]) == {"done"}


@pytest.mark.parametrize("stdin", [b"", b"some\n"])
def test_helper_at_every_limit_of_descriptors(stdin: bytes) -> None:
    def act() -> str:
        outcome = run_helper(("sh", "-c", "cat; echo done"), stdin=stdin)
        return "done" if outcome == Outcome(status=0, output=stdin + b"done\n") else str(outcome)

    once_it_works_it_works(with_every_number(act), {f"cannot be run: {EMFILE}"})


def test_work_as_a_user_at_every_limit_of_descriptors() -> None:
    def act() -> str:
        try:
            return run_as(ME, lambda: b"done").decode()
        except CommandError as error:
            return str(error)

    once_it_works_it_works(with_every_number(act), {"cannot create pipe FDs"})


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def wait(loop: Loop, pending: Pending[Any]) -> Any:
    if not pending.done:
        pending.then(loop.stop)
        guard = loop.call_later(SOON, loop.stop)
        loop._stopped = False
        loop.run()
        guard.cancel()
    return pending.result()


def test_worker_at_every_limit_of_descriptors(loop: Loop) -> None:
    workers = Workers(loop)

    def act() -> str:
        try:
            return str(wait(loop, workers(lambda: "done")))
        except CommandError as error:
            return str(error)

    once_it_works_it_works(with_every_number(act), {"cannot create pipe FDs"})
    assert len(workers) == 0


def test_program_of_guest_exec_at_every_limit_of_descriptors(loop: Loop) -> None:
    children = Children()
    loop.on_signal(signal.SIGCHLD, children.reap)
    programs = Programs(loop, children, lambda pid, code: None)
    refusals: list[OSError] = []

    def act() -> str:
        try:
            pid = programs.start([b"/bin/cat"], {}, b"done", Capture(out=True, err=True))
        except OSError as error:
            refusals.append(error)
            return error.strerror or ""
        program = programs.find(pid)
        assert program is not None
        ended: Pending[None] = Pending()

        def look() -> None:
            if program.exited:
                ended.resolve(None)
            else:
                loop.call_later(0.01, look)

        look()
        wait(loop, ended)
        programs.forget(program)
        return program.out.data().decode()

    said = with_every_number(act)
    if said[-1] == EMFILE:
        raise refusals[-1]  # its traceback says which call is refused although there is room
    once_it_works_it_works(said, {EMFILE})


def full() -> Any:
    def watch(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return watch


def test_kernel_without_room_for_another_watch(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """When epoll_ctl(2) fails with ENOSPC, no program is left running unwatched."""
    workers, programs = Workers(loop), Programs(loop, Children(), lambda pid, code: None)
    monkeypatch.setattr(loop, "watch", full())
    with pytest.raises(CommandError, match=r"^a slow command cannot be waited for: No space left on device$"):
        workers(lambda: time.sleep(600)).result()
    with pytest.raises(OSError, match="No space left on device"):
        programs.start([b"/bin/sleep", b"600"], {}, None, Capture(out=True))


@pytest.mark.parametrize("failing", ["memfd_create", "lseek", "fork", "pipe"])
def test_call_that_fails_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, failing, fail)
    assert run_helper(("cat",), stdin=b"x") == Outcome(errno=errno.ENOMEM)


@contextmanager
def everything_inherited() -> Iterator[None]:
    """Descriptors that a program would inherit, one above the limit too; and signals that are ignored and blocked."""
    numbers = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGPIPE, signal.SIGRTMIN)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGWINCH})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptor = os.open(os.devnull, os.O_RDONLY)
    high = os.dup2(descriptor, 200)
    os.set_inheritable(descriptor, True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(descriptor)
        os.close(high)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_helper_has_every_signal_at_its_default_and_nothing_open() -> None:
    with everything_inherited():
        assert found(run_helper(("sh", "-c", LOOK)).output.decode()) == UNTOUCHED


def test_helper_has_nothing_open_where_there_is_no_procfs(monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        with monkeypatch.context() as context:
            context.setattr(os, "listdir", listdir)
            assert found(run_helper(("sh", "-c", LOOK)).output.decode()) == UNTOUCHED
            keep_descriptors()
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_worker_has_nothing_open() -> None:
    def look() -> bytes:
        return repr(sorted(os.listdir("/proc/self/fd"), key=int)).encode()

    with everything_inherited():
        assert len(eval(run_as(ME, look))) == 2, "its report, and the directory that is listed"


@pytest.mark.parametrize("streams", ["", "<&- >&- 2>&-"])
def test_programs_of_an_agent_in_the_foreground(machine: Machine, streams: str) -> None:
    """The caller left descriptors open and signals ignored, or closed the standard streams."""
    machine.hook.write_text(f"#!/bin/sh\n{{ {LOOK}; }} >>{machine.said}\n")
    script = f"trap '' HUP QUIT USR1 USR2 XFSZ PIPE; exec \"$@\" 7</dev/null 9>/dev/null {streams}"
    machine.prefix = ("sh", "-c", script, "sh")
    with machine.start():
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[]) == 0
        assert machine.ask("guest-fsfreeze-thaw") == 0
        arguments = {"path": "sh", "arg": ["-c", LOOK], "capture-output": True}
        pid = machine.ask("guest-exec", **arguments)["pid"]

        def said() -> str | None:
            status = machine.ask("guest-exec-status", pid=pid)
            return base64.b64decode(status["out-data"]).decode() if status["exited"] else None

        program = until(said)
    assert found(machine.said.read_text()) == UNTOUCHED * 2
    assert program is not None
    assert found(program) == UNTOUCHED


def test_agent_without_a_free_descriptor_notifies_its_watchdog(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path, env={"WATCHDOG_USEC": "200000"}) as agent:
        used = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
        limits = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        assert [agent.notification() for _ in range(5)] == ["WATCHDOG=1"] * 5
        assert agent.alive
