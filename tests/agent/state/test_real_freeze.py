"""Freezes of real filesystems by a real agent, above all those that the kernel does not come back from.

No filesystem of this machine is frozen: the filesystems lie on loop devices in a mount namespace of their own, the
agent is configured to leave ``/`` alone, and freezes its own mount points only.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qga.agent.state.freeze import FreezeState
from tests.filesystems import SOON, Filesystems, needs_btrfs, needs_loop
from tests.lines import Lines
from tests.running import RunningAgent
from tests.until import until

pytestmark = [pytest.mark.forks, pytest.mark.slow, needs_loop]

HANG = "failed to freeze {}: no answer from the kernel within {} s"


@pytest.fixture
def machine() -> Iterator[Filesystems]:
    with Filesystems() as made:
        yield made


class Peer(Lines):
    def call(self, command: str, **arguments: object) -> Any:
        """Carry out a command; return its result, or the text of its error."""
        self.send(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        return self.reply()

    def reply(self) -> Any:
        found = json.loads(self.read_line(SOON))
        return found["return"] if "return" in found else found["error"]["desc"]

    def synced(self) -> None:
        """Abandon earlier requests by a sync."""
        self.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}\n')
        self.read_until(b"\xff", SOON)
        assert self.reply() == 7


@contextmanager
def agent(
    machine: Filesystems, directory: Path, *options: str, module: str = "qga"
) -> Iterator[tuple[RunningAgent, Peer]]:
    path = str(directory / "agent.sock")
    options = (
        "-m",
        "unix-listen",
        "-p",
        path,
        *(() if "--exclude-fs" in options else ("--exclude-fs", "/")),
        *options,
    )
    with (
        RunningAgent(directory, *options, module=module, prefix=machine.prefix) as running,
        Peer.connect(path) as peer,
    ):
        yield running, peer


def nested(machine: Filesystems) -> tuple[str, str]:
    """A filesystem with an overlay's upper directory, and one in a file of that overlay, which has much to write."""
    base, at = machine.ext4("base", size="96M"), machine.at
    machine.shell(f"mkdir {base}/upper {base}/work {at}/lower {at}/overlay")
    options = f"lowerdir={at}/lower,upperdir={base}/upper,workdir={base}/work"
    machine.shell(f"mount -t overlay -o {options} overlay {at}/overlay")
    inner = machine.ext4("inner", f"{at}/overlay/inner.img")
    dirty(machine, inner)
    machine.guard(base, inner)
    return base, inner


def dirty(machine: Filesystems, mountpoint: str) -> None:
    machine.shell(f"dd if=/dev/urandom of={mountpoint}/dirty bs=1M count=4 status=none")


@pytest.mark.slow
def test_filesystem_in_a_file_of_an_overlay_is_frozen_before_the_upper_filesystem(
    machine: Filesystems, tmp_path: Path
) -> None:
    base, inner = nested(machine)
    with agent(machine, tmp_path, "--fsfreeze-timeout", "4") as (running, peer):
        assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[base, inner]) == 2
        assert peer.call("guest-fsfreeze-status") == "frozen"
        assert peer.call("guest-fsfreeze-thaw") == 2
        assert peer.call("guest-fsfreeze-status") == "thawed"
        assert running.terminate() == 0
    assert not machine.frozen(base)
    assert not machine.frozen(inner)


@pytest.mark.slow
def test_freeze_in_an_order_that_hangs_is_undone_at_its_deadline(machine: Filesystems, tmp_path: Path) -> None:
    base, inner = nested(machine)
    options = ("--fsfreeze-timeout", "2")
    with agent(machine, tmp_path, *options, module="tests.frozen_outermost_first") as (running, peer):
        begun = time.monotonic()
        asked = peer.call("guest-fsfreeze-freeze-list", mountpoints=[base, inner])
        assert asked == HANG.format(inner, 2)
        assert time.monotonic() - begun >= 2
        assert peer.call("guest-fsfreeze-status") == "thawed"
        assert peer.call("guest-fsfreeze-thaw") == 0
        assert running.terminate() == 0
    assert not machine.frozen(base)
    assert not machine.frozen(inner)


class Stuck(NamedTuple):
    """``inner`` is in a file on a filesystem that another process has frozen and that the agent cannot see.

    ``thaw()`` thaws that filesystem. ``third`` is unrelated to both.
    """

    inner: str
    third: str
    thaw: Callable[[], None]

    @property
    def request(self) -> bytes:
        arguments = {"mountpoints": [self.third, self.inner]}
        return json.dumps({"execute": "guest-fsfreeze-freeze-list", "arguments": arguments}).encode() + b"\n"


@pytest.fixture
def stuck(machine: Filesystems) -> Stuck:
    outer = machine.ext4("outer", size="96M")
    inner = machine.ext4("inner", f"{outer}/inner.img")
    third = machine.ext4("third")
    dirty(machine, inner)
    machine.guard(inner, third)
    thaw = machine.guard(outer)
    machine.shell(f"fsfreeze -f {outer}; umount -l {outer}")
    return Stuck(inner, third, thaw)


@pytest.mark.slow
def test_filesystem_that_hangs_is_named_and_thawed_when_the_kernel_answers(
    machine: Filesystems, tmp_path: Path, stuck: Stuck
) -> None:
    log, audit = tmp_path / "log", tmp_path / "audit"
    options = ("--fsfreeze-timeout", "5", "-l", str(log), "--audit-log", str(audit))
    message = f"the kernel does not answer about {stuck.inner}, which is thawed as soon as it does"
    with agent(machine, tmp_path, *options, module="tests.frozen_outermost_first") as (running, peer):
        peer.send(stuck.request)
        until(running.children)
        peer.synced()
        assert peer.call("guest-ping") == {}
        assert peer.call("guest-fsfreeze-status") == "frozen"
        assert running.children(), "nothing of that waits for the freeze"
        assert peer.call("guest-fsfreeze-thaw") == message, "its turn comes when the freeze has failed"
        assert not machine.frozen(stuck.third)
        assert peer.call("guest-fsfreeze-status") == "frozen"
        stuck.thaw()
        until(lambda: peer.call("guest-fsfreeze-status") == "thawed")
        assert not machine.frozen(stuck.inner)
        assert peer.call("guest-fsfreeze-thaw") == 0
        assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[stuck.third, stuck.inner]) == 2
        assert peer.call("guest-fsfreeze-thaw") == 2
    assert f"{HANG.format(stuck.inner, 5)}; {message}" in log.read_text()
    assert f"nothing is frozen any more at {stuck.inner}" in log.read_text()
    assert f"{HANG.format(stuck.inner, 5)}; {message}" in audit.read_text()


@pytest.mark.slow
def test_agent_ends_in_time_beside_a_freeze_that_hangs(machine: Filesystems, tmp_path: Path, stuck: Stuck) -> None:
    """The next agent thaws what the hanging freeze finally freezes, though the agent that began it is gone."""
    with agent(machine, tmp_path, "--fsfreeze-timeout", "60") as (running, peer):
        peer.send(stuck.request)
        (hanging,) = hanging_below(running)
        assert running.terminate(SOON) == 0
        assert not machine.frozen(stuck.third)
    os.kill(hanging, signal.SIGKILL)  # as systemd does in the end: it dies of it when it comes back
    with agent(machine, tmp_path, "--fsfreeze-timeout", "2") as (_, peer):
        assert peer.call("guest-fsfreeze-status") == "frozen"
        assert peer.call("guest-ping") == {}
        stuck.thaw()
        until(lambda: peer.call("guest-fsfreeze-status") == "thawed")
        assert not machine.frozen(stuck.inner)


def test_freeze_whose_agent_is_killed_in_a_hook_freezes_nothing(machine: Filesystems, tmp_path: Path) -> None:
    """Nothing is frozen later either, and the hook is called to thaw."""
    where, hook, calls = machine.ext4("data"), tmp_path / "hook", tmp_path / "calls"
    hook.write_text(f"#!/bin/sh\necho $1 >>{calls}\n[ $1 = thaw ] || sleep 3\n")
    hook.chmod(0o755)
    machine.guard(where)
    with agent(machine, tmp_path, f"-F{hook}") as (running, peer):
        peer.send(
            json.dumps({"execute": "guest-fsfreeze-freeze-list", "arguments": {"mountpoints": [where]}}).encode()
        )
        until(calls.exists)
        running.process.kill()
        until(lambda: not FreezeState(str(tmp_path)).busy())  # no process is left that may freeze
    assert not machine.frozen(where)
    with agent(machine, tmp_path, f"-F{hook}") as (_, peer):
        assert peer.call("guest-fsfreeze-status") == "frozen"
        peer.call("guest-fsfreeze-thaw")
        assert peer.call("guest-fsfreeze-status") == "thawed"
    assert calls.read_text().splitlines()[0] == "freeze"
    assert calls.read_text().splitlines()[-1] == "thaw"
    assert not machine.frozen(where)


@pytest.mark.slow
def test_a_filesystem_can_be_named_by_any_of_its_mount_points(machine: Filesystems, tmp_path: Path) -> None:
    at, data = machine.at, machine.ext4("data")
    machine.shell(f"mkdir {data}/part {at}/bound {at}/part; mount --bind {data} {at}/bound")
    machine.shell(f"mount --bind {data}/part {at}/part")
    names = [[f"{data}/"], [f"/{data}//."], [f"{at}/bound"], [f"{at}/part"], [data, f"{at}/bound"]]
    machine.guard(data)
    with agent(machine, tmp_path) as (_, peer):
        for wanted in names:
            assert peer.call("guest-fsfreeze-freeze-list", mountpoints=wanted) == 1, wanted
            assert peer.call("guest-fsfreeze-thaw") == 1, wanted
        assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[f"{data}/part", "data"]) == 0
    for excluded in (f"{at}/bound", f"{data}/", f"{at}/part/"):
        with agent(machine, tmp_path, "--exclude-fs", f"/,{excluded}") as (_, peer):
            assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[data]) == 0, excluded
    with agent(machine, tmp_path, "--exclude-fs", f"/,{at}/p*") as (_, peer):
        assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[data]) == 1, "a part does not stand for the whole"
        assert peer.call("guest-fsfreeze-thaw") == 1


@pytest.mark.slow
@needs_btrfs
def test_a_filesystem_can_be_named_by_any_subvolume(machine: Filesystems, tmp_path: Path) -> None:
    at = machine.at
    device = machine.btrfs("pool")
    machine.shell(f"btrfs -q subvolume create {at}/pool/@; btrfs -q subvolume create {at}/pool/@home")
    machine.shell(f"umount {at}/pool; mkdir {at}/root {at}/home")
    machine.shell(f"mount -o subvol=@ {device} {at}/root; mount -o subvol=@home {device} {at}/home")
    machine.guard(f"{at}/root")
    with agent(machine, tmp_path) as (_, peer):
        for wanted in ([f"{at}/home"], [f"{at}/home/"], [f"{at}/root", f"{at}/home"]):
            assert peer.call("guest-fsfreeze-freeze-list", mountpoints=wanted) == 1
            assert peer.call("guest-fsfreeze-thaw") == 1
    with agent(machine, tmp_path, "--exclude-fs", f"/,{at}/h*") as (_, peer):
        assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[f"{at}/root"]) == 0


def hanging_below(running: RunningAgent) -> list[int]:
    """The processes of an agent that cannot be ended: proc(5), state D."""
    found: list[int] = []

    def look() -> list[int]:
        for worker in running.children():
            children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
            found[:] = [int(pid) for pid in children if " D " in Path(f"/proc/{pid}/stat").read_text()]
        return found

    until(look)
    return found
