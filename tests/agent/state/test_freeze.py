"""What a freeze leaves behind: markers that are damaged, freezes that end early, hooks that wait for a thaw."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qga.agent.linux.host import Outcome
from qga.agent.state import marker, quiesce
from qga.agent.state.freeze import STOPPED, FreezeState
from qga.agent.state.marker import HOOKS, MARKER, NOTE
from tests.agent.commands.test_fsfreeze import make
from tests.conftest import FakePrograms, failed, now
from tests.lines import Lines
from tests.running import RunningAgent
from tests.until import until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
SOON = 20.0  # seconds that anything may take
NOTHING = "1 1 0:2 / / rw - tmpfs tmpfs rw\n"
DAMAGE: dict[str, bytes | str] = {
    "brackets": b"[" * 200_000,
    "few brackets": b"[" * 60_000,
    "infinity": b'{"boot": "BOOT", "deadline": Infinity}',
    "nan": b'{"boot": "BOOT", "deadline": NaN}',
    "1e300": b'{"boot": "BOOT", "deadline": 1e300}',
    "400 digits": b'{"boot": "BOOT", "deadline": ' + b"9" * 400 + b"}",
    "5000 digits": b'{"boot": "BOOT", "deadline": ' + b"9" * 5000 + b"}",
    "true": b'{"boot": "BOOT", "deadline": true}',
    "a word": b'{"boot": "BOOT", "deadline": "soon"}',
    "timeout is a list": b'{"boot": "BOOT", "deadline": 1.0, "timeout": []}',
    "further away than it was given": b'{"boot": "BOOT", "deadline": 1e14, "timeout": 600}',
    "no deadline": b'{"boot": "BOOT"}',
    "boot is a number": b'{"boot": 1, "deadline": 1.0}',
    "a list": b"[1]",
    "half": b'{"boot": "BO',
    "binary": bytes(range(256)),
    "zeros": bytes(4096),
    "sparse": "sparse",
    "fifo": "fifo",
    "directory": "directory",
    "full directory": "full directory",
    "link": "link",
    "link to nothing": "link to nothing",
    "device": "device",
}


def damage(path: Path, kind: str) -> None:
    content = DAMAGE[kind]
    if isinstance(content, bytes):
        path.write_bytes(content.replace(b"BOOT", marker.boot_id().encode()))
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 1 << 30)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind.endswith("directory"):
        path.mkdir()
        if kind == "full directory":
            (path / "file").touch()
    elif kind == "device":
        if os.geteuid():
            pytest.skip("only root can make devices")
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    else:
        path.symlink_to("/dev/zero" if kind == "link" else "nowhere")


def left(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


# Markers that cannot be understood


@pytest.mark.parametrize("name", [MARKER, HOOKS])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_marker_counts_as_frozen_and_is_kept_aside(tmp_path: Path, kind: str, name: str) -> None:
    damage(tmp_path / name, kind)
    before = time.monotonic()
    state = FreezeState(str(tmp_path), timeout=90)
    assert (state.frozen, state.held) == (name == MARKER, True)
    assert state.deadline is not None
    assert before + 90 <= state.deadline <= time.monotonic() + 90
    assert len(state.found) == 1
    assert state.found[0].startswith(f"{tmp_path / name} ")
    assert left(tmp_path) == [name], "nothing is written while the disk may be frozen"
    assert state.overdue() == "its fsfreeze-timeout had passed"
    state.thaw()
    assert left(tmp_path) == [f"{name}.damaged-1"]
    assert not FreezeState(str(tmp_path), timeout=90).held


def test_empty_marker_of_qemus_agent_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    state = FreezeState(str(tmp_path), timeout=90)
    assert state.frozen
    assert state.found == [
        f"{tmp_path / MARKER} is empty, as QEMU's agent leaves it: it counts as frozen, from now on"
    ]
    state.thaw()
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", ["fifo", "directory", "full directory", "link to nothing", "device"])
def test_an_obstacle_at_the_path_of_the_marker_is_replaced_by_the_marker(tmp_path: Path, kind: str) -> None:
    state = FreezeState(str(tmp_path), timeout=90)
    damage(tmp_path / MARKER, kind)
    state.freeze()
    with state.alone(0) as alone:
        assert alone
    again = FreezeState(str(tmp_path), timeout=5)
    assert (again.frozen, again.deadline) == (True, state.deadline)
    state.thaw()
    assert MARKER not in left(tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "device"])
def test_damaged_marker_is_not_waited_for_as_a_lock(tmp_path: Path, kind: str) -> None:
    damage(tmp_path / MARKER, kind)
    with FreezeState(str(tmp_path)).alone(0) as alone:
        assert alone is not None


def test_marker_of_an_agent_that_did_not_write_its_timeout(tmp_path: Path) -> None:
    deadline = time.monotonic() + 500
    (tmp_path / MARKER).write_text(json.dumps({"boot": marker.boot_id(), "deadline": deadline}))
    state = FreezeState(str(tmp_path), timeout=90)
    assert (state.frozen, state.deadline, state.overdue()) == (True, deadline, "its fsfreeze-timeout had passed")


def test_full_disk_leaves_a_marker_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = FreezeState(str(tmp_path), timeout=90)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as context:
        context.setattr(os, "write", full)
        state.freeze()
    assert FreezeState(str(tmp_path), timeout=90).frozen
    assert left(tmp_path) == [MARKER]


# Freezes that end early


TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


def early(why: str) -> str:
    return f"^the guest was thawed early, at {TIME}: {re.escape(why)}; what was copied since then is not consistent$"


@pytest.mark.parametrize("why", ["overdue", "stopped"])
def test_thaw_after_an_early_one_is_an_error_once_by_whichever_agent(
    tmp_path: Path, programs: FakePrograms, why: str
) -> None:
    for agents in (1, 2, 3):
        guest = make(tmp_path, programs, fsfreeze_timeout=90)
        assert guest.ask("guest-fsfreeze-freeze") == {"return": 3}
        if why == "overdue":
            now(guest.ctx.freezer.thaw_overdue(guest.ctx.freezer.state.generation))
        else:
            guest.ctx.freezer.thaw_at_end()
        for _ in range(agents - 1):
            guest = make(tmp_path, programs, fsfreeze_timeout=7)
            assert guest.status() == "thawed"
        said = {"overdue": "it had been frozen for 90 s (fsfreeze-timeout)", "stopped": STOPPED}[why]
        assert re.search(early(said), guest.ask("guest-fsfreeze-thaw")["error"]["desc"])
        assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}
        assert make(tmp_path, programs).ask("guest-fsfreeze-thaw") == {"return": 0}
        assert left(guest.statedir) == []


@pytest.mark.parametrize("agents", [1, 2])
def test_new_freeze_is_unaffected_by_one_that_ended_early(
    tmp_path: Path, programs: FakePrograms, agents: int
) -> None:
    guest = make(tmp_path, programs)
    guest.ask("guest-fsfreeze-freeze")
    guest.ctx.freezer.thaw_at_end()
    if agents == 2:
        guest = make(tmp_path, programs)
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 3}
    assert left(guest.statedir) == [MARKER]
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 3}


def test_freeze_of_an_earlier_boot_makes_the_next_thaw_an_error(tmp_path: Path, programs: FakePrograms) -> None:
    """Whether the guest was rebooted, or a snapshot was restored that was taken while it was frozen."""
    for name in (MARKER, HOOKS):
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / name).write_text('{"boot": "another", "deadline": 17.0, "timeout": 600}')
        guest = make(tmp_path, programs)
        assert guest.status() == "thawed"
        assert len(guest.ctx.freezer.state.found) == 1
        assert left(guest.statedir) == [NOTE]
        said = guest.ask("guest-fsfreeze-thaw")["error"]["desc"]
        assert re.search(early("the guest was restarted while it was frozen"), said)
        assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}


def test_agent_that_is_killed_between_the_thaw_and_the_end_of_its_hooks(
    tmp_path: Path, programs: FakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent has already recorded the thaw, as a hook may take longer than systemd waits."""

    class KilledError(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise KilledError

    programs.answers["/hook"] = Outcome(status=0)
    first = make(tmp_path, programs, hook="/hook")
    first.ask("guest-fsfreeze-freeze")
    with monkeypatch.context() as context:
        context.setattr(quiesce, "_failure", die)
        with pytest.raises(KilledError):
            first.ctx.freezer.thaw_at_end()
    assert left(first.statedir) == [MARKER, NOTE]
    second = make(tmp_path, programs, hook="/hook")
    assert second.status() == "frozen"
    assert re.search(early(STOPPED), second.ask("guest-fsfreeze-thaw")["error"]["desc"])
    assert programs.calls == ["/hook freeze", "/hook thaw"]
    assert left(first.statedir) == []


def test_time_of_an_early_thaw_is_the_one_before_the_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(["2001-09-09T01:46:40Z", "2001-09-09T01:47:10Z"])
    monkeypatch.setattr(marker, "utc", lambda seconds: next(clock))
    state = FreezeState(str(tmp_path), timeout=90)
    state.freeze()
    state.note_early("why")
    state.thaw("why")
    assert state.early == ("2001-09-09T01:46:40Z", "why")


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "few brackets"])
def test_damaged_note_counts_as_an_early_end(tmp_path: Path, programs: FakePrograms, kind: str) -> None:
    (tmp_path / "state").mkdir()
    damage(tmp_path / "state" / NOTE, kind)
    guest = make(tmp_path, programs)
    said = guest.ask("guest-fsfreeze-thaw")["error"]["desc"]
    assert said.startswith(
        f"the guest was thawed early, at a time that is not known: so says {guest.statedir / NOTE}"
    )
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}
    assert left(guest.statedir) == [f"{NOTE}.damaged-1"]


# Hooks that wait for a thaw where no filesystem was frozen


@pytest.fixture
def hooked(tmp_path: Path, programs: FakePrograms) -> Any:
    programs.answers["/hook"] = Outcome(status=0)
    return lambda: make(tmp_path, programs, hook="/hook", mounts=NOTHING, fsfreeze_timeout=90)


def test_hooks_are_undone_at_the_deadline_of_a_freeze_that_froze_nothing(hooked: Any, programs: FakePrograms) -> None:
    guest = hooked()
    before = time.monotonic()
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 0}
    freeze = guest.ctx.freezer.state
    assert (guest.status(), freeze.held, left(guest.statedir)) == ("thawed", True, [HOOKS])
    assert freeze.deadline is not None
    assert before + 90 <= freeze.deadline <= time.monotonic() + 90
    assert "return" in guest.ask("guest-get-time"), "nothing is frozen"
    now(guest.ctx.freezer.thaw_overdue(freeze.generation))
    assert programs.calls == ["/hook freeze", "/hook thaw"]
    said = guest.ask("guest-fsfreeze-thaw")["error"]["desc"]
    assert re.search(early("it had been frozen for 90 s (fsfreeze-timeout)"), said)
    assert (left(guest.statedir), freeze.held, freeze.deadline) == ([], False, None)


def test_thaw_undoes_them_in_time(hooked: Any, programs: FakePrograms) -> None:
    guest = hooked()
    guest.ask("guest-fsfreeze-freeze")
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}
    assert programs.calls == ["/hook freeze", "/hook thaw"]
    assert (left(guest.statedir), guest.ctx.freezer.state.held) == ([], False)


def test_second_freeze_is_the_one_that_counts(hooked: Any, programs: FakePrograms) -> None:
    guest = hooked()
    guest.ask("guest-fsfreeze-freeze")
    first = guest.ctx.freezer.state.generation
    guest.ask("guest-fsfreeze-freeze")
    now(guest.ctx.freezer.thaw_overdue(first))
    assert programs.calls == ["/hook freeze", "/hook freeze"]
    assert (left(guest.statedir), guest.ctx.freezer.state.held) == ([HOOKS], True)


def test_agent_that_starts_where_one_was_killed_undoes_them(hooked: Any, programs: FakePrograms) -> None:
    first = hooked()
    first.ask("guest-fsfreeze-freeze")
    second = hooked()
    freeze = second.ctx.freezer.state
    assert (second.status(), freeze.held, freeze.deadline) == ("thawed", True, first.ctx.freezer.state.deadline)
    now(second.ctx.freezer.thaw_overdue(freeze.generation))
    assert programs.calls == ["/hook freeze", "/hook thaw"]
    assert "error" in second.ask("guest-fsfreeze-thaw")


def test_freeze_of_nothing_without_hooks_has_nothing_to_undo(tmp_path: Path, programs: FakePrograms) -> None:
    guest = make(tmp_path, programs, mounts=NOTHING, fsfreeze_timeout=90)
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 0}
    assert (guest.ctx.freezer.state.held, guest.ctx.freezer.state.deadline, left(guest.statedir)) == (False, None, [])


def test_failing_hook_is_not_remembered(tmp_path: Path, programs: FakePrograms) -> None:
    programs.answers |= {"/hook freeze": Outcome(status=1), "/hook thaw": Outcome(status=0)}
    guest = make(tmp_path, programs, hook="/hook", mounts=NOTHING)
    assert guest.ask("guest-fsfreeze-freeze") == failed(
        "child process has failed to execute fsfreeze hook: /hook: exit status 1"
    )
    assert (guest.ctx.freezer.state.held, left(guest.statedir)) == (False, [])


# Real agents. They freeze an empty list: no filesystem of this machine.


class Machine:
    """Consecutive agents with the same state directory, and a hook that records its arguments."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.state.mkdir()
        self.said = directory / "said"
        self.said.touch()
        self.hook = directory / "hook"
        self.hook.write_text(f"#!/bin/sh\necho $1 >>{self.said}\n")
        self.hook.chmod(0o755)
        self._directory = directory
        self._started = 0
        self.prefix: tuple[str, ...] = ()

    def start(self, *options: str) -> RunningAgent:
        self._started += 1
        own = self._directory / str(self._started)
        own.mkdir()
        self.path = str(own / "sock")
        return RunningAgent(
            own,
            "-m",
            "unix-listen",
            "-p",
            self.path,
            "-t",
            str(self.state),
            f"-F{self.hook}",
            *options,
            prefix=self.prefix,
        )

    def ask(self, name: str, **arguments: object) -> Any:
        """Carry out a command; return its result, or the text of its error."""
        with Lines.connect(self.path) as peer:
            peer.send(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
            reply = json.loads(peer.read_line(SOON))
        return reply["return"] if "return" in reply else reply["error"]["desc"]

    def waits_for(self, words: list[str]) -> None:
        until(lambda: self.said.read_text().split() == words)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.forks
@pytest.mark.parametrize(
    "kind", ["brackets", "infinity", "1e300", "400 digits", "fifo", "directory", "link", "device", "binary", "sparse"]
)
def test_agent_starts_with_a_damaged_marker_thaws_and_says_what_it_found(machine: Machine, kind: str) -> None:
    damage(machine.state / MARKER, kind)
    with machine.start() as agent:
        assert machine.ask("guest-fsfreeze-status") == "frozen"
        assert machine.ask("guest-fsfreeze-thaw") == 0
        machine.waits_for(["thaw"])
        assert left(machine.state) == [f"{MARKER}.damaged-1"]
        assert agent.terminate() == 0
        assert re.search(rf"{machine.state / MARKER} (is|has) .*: it counts as frozen", agent.log.read_text())


@pytest.mark.forks
@pytest.mark.slow
def test_agent_that_starts_with_a_damaged_marker_thaws_by_itself(machine: Machine) -> None:
    damage(machine.state / MARKER, "infinity")
    with machine.start("--fsfreeze-timeout=1"):
        machine.waits_for(["thaw"])
        assert re.search(early("its fsfreeze-timeout had passed"), machine.ask("guest-fsfreeze-thaw"))
        assert machine.ask("guest-fsfreeze-thaw") == 0
    assert left(machine.state) == [f"{MARKER}.damaged-1"]


@pytest.mark.forks
def test_stopped_agent_calls_the_hooks_to_thaw_and_tells_the_host_later(machine: Machine) -> None:
    with machine.start() as agent:
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[]) == 0
        assert agent.terminate() == 0
    assert machine.said.read_text() == "freeze\nthaw\n"
    with machine.start():
        assert re.search(early("the agent was stopped while it was frozen"), machine.ask("guest-fsfreeze-thaw"))
        assert machine.ask("guest-fsfreeze-thaw") == 0
    assert left(machine.state) == []


@pytest.mark.forks
@pytest.mark.slow
def test_hooks_outlast_an_agent_that_is_killed_and_end_at_the_deadline(machine: Machine) -> None:
    with machine.start("--fsfreeze-timeout=3") as agent:
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[]) == 0
        agent.process.kill()
        agent.process.wait()
    with machine.start("--fsfreeze-timeout=600"):
        assert machine.ask("guest-fsfreeze-status") == "thawed"
        machine.waits_for(["freeze", "thaw"])
        why = "it had been frozen for 3 s (fsfreeze-timeout)"
        assert re.search(early(why), machine.ask("guest-fsfreeze-thaw"))
    assert left(machine.state) == []


@pytest.mark.forks
def test_background_process_of_a_hook_is_not_killed(machine: Machine, tmp_path: Path) -> None:
    """For example a database lock that is held until after the snapshot, even if the agent ends earlier."""
    rc, go = tmp_path / "rc", tmp_path / "go"
    wait = f"until [ -e {go}$1 ]; do sleep 0.02; done"
    machine.hook.write_text(
        f"#!/bin/sh\n(set -- 1; {wait}; echo x; echo $? >>{rc}; set -- 2; {wait}; echo x; echo $? >>{rc}) & exit 0\n"
    )

    def said(rounds: int) -> bool:
        return rc.exists() and rc.read_text() == "0\n" * rounds

    with machine.start() as agent:
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[]) == 0
        Path(f"{go}1").touch()
        until(lambda: said(1))
        assert machine.ask("guest-fsfreeze-thaw") == 0
        until(lambda: said(2))
        assert agent.terminate() == 0
    Path(f"{go}2").touch()
    until(lambda: said(4))  # both, of the freeze and of the thaw


@pytest.mark.forks
def test_timeout_of_thirty_million_years(machine: Machine) -> None:
    """epoll_wait(2) counts milliseconds in an int: 24 days."""
    with machine.start("--fsfreeze-timeout=999999999999999", "--fsfreeze-hook-timeout=999999999999999") as agent:
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[]) == 0
        assert machine.ask("guest-ping") == {}
        agent.process.kill()
        agent.process.wait()
    with machine.start():
        assert machine.ask("guest-fsfreeze-thaw") == 0
    assert machine.said.read_text() == "freeze\nthaw\n"


# A filesystem of their own, in a mount namespace of their own


@pytest.fixture
def mounted(machine: Machine, tmp_path: Path) -> Iterator[Path]:
    """An ext4 on a loop device, thawed after a minute whatever happens; agents of ``machine`` see it."""
    image, mountpoint = tmp_path / "image", tmp_path / "mnt"
    mountpoint.mkdir()
    image.touch()
    os.truncate(image, 16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    script = (
        f"mount -o loop {image} {mountpoint} && echo ready && read x; fsfreeze -u {mountpoint}; umount {mountpoint}"
    )
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("no loop device can be mounted here")
        watch = threading.Timer(60, holder.stdin.close)
        watch.start()
        machine.prefix = ("nsenter", "-t", str(holder.pid), "-m", "--")
        try:
            yield mountpoint
        finally:
            watch.cancel()
            holder.stdin.close()


@pytest.mark.forks
@AS_ROOT
def test_agent_stopped_while_frozen_thaws_and_tells_the_host_later(machine: Machine, mounted: Path) -> None:
    with machine.start() as agent:
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[str(mounted)]) == 1
        assert machine.ask("guest-fsfreeze-status") == "frozen"
        assert agent.terminate() == 0
    assert machine.said.read_text() == "freeze\nthaw\n"
    with machine.start():
        assert machine.ask("guest-fsfreeze-status") == "thawed"
        assert re.search(early("the agent was stopped while it was frozen"), machine.ask("guest-fsfreeze-thaw"))
        assert machine.ask("guest-fsfreeze-thaw") == 0
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[str(mounted)]) == 1
        assert machine.ask("guest-fsfreeze-thaw") == 1


@pytest.mark.forks
@AS_ROOT
def test_freeze_outlasts_an_agent_that_is_killed(machine: Machine, mounted: Path) -> None:
    with machine.start() as agent:
        assert machine.ask("guest-fsfreeze-freeze-list", mountpoints=[str(mounted)]) == 1
        agent.process.kill()
        agent.process.wait()
    with machine.start():
        assert machine.ask("guest-fsfreeze-status") == "frozen"
        assert machine.ask("guest-fsfreeze-thaw") == 1
        assert machine.ask("guest-fsfreeze-thaw") == 0
