"""Freezing, thawing and trimming with a scripted kernel. Real filesystems are in test_real_freeze.py."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import pytest

from qga.agent.binding import bind
from qga.agent.config import defaults
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher
from qga.agent.linux import freezing
from qga.agent.linux.freezing import FIFREEZE, FITHAW, freezing_order
from qga.agent.linux.host import Attempt, Host, ImmediateAttempt, Outcome
from qga.agent.linux.mounts import list_mounts
from qga.agent.linux.trimming import FITRIM
from qga.agent.loop import Loop
from qga.agent.policy import Policy
from qga.agent.processes import NotStartedError
from qga.agent.state import freezer, quiesce
from qga.agent.state.freeze import FreezeState
from qga.agent.state.marker import MARKER, NOTE
from qga.protocol import schema
from qga.protocol.errors import CommandError
from tests.conftest import FakePrograms, carried_out, failed, now, write
from tests.contexts import StillLoop, context

T = TypeVar("T")

MOUNTS = {"/": "254:1", "/data": "254:2", "/var/lib": "254:3"}
OTHERS = "90 1 0:22 / /proc rw - proc proc rw\n91 1 254:2 /sub /bind rw - xfs /dev/vda2 rw\n"


class Kernel(Host):
    """A kernel: ``frozen`` counts the freezes of each mount point, ``refuse`` maps failing calls to an errno."""

    def __init__(self, programs: FakePrograms, root: str) -> None:
        super().__init__(programs.run, programs.which, root)
        self.frozen: dict[str, int] = {}
        self.refuse: dict[tuple[int, str], int] = {}
        self.done: list[tuple[str, str]] = []

    def ioctl(self, descriptor: int, request: int, argument: bytearray | int = 0) -> int:
        path = os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(self.root)) or "/"
        refusal = self.refuse.get((request, path))
        if refusal is None and request == FITHAW and not self.frozen.get(path):
            refusal = errno.EINVAL
        if refusal is not None:
            raise OSError(refusal, os.strerror(refusal))
        self.done.append(({FIFREEZE: "freeze", FITHAW: "thaw", FITRIM: "trim"}[request], path))
        if request == FITRIM:
            assert isinstance(argument, bytearray)
            start, length, minimum = struct.unpack("=QQq", argument)
            assert (start, length) == (0, 2**64 - 1)
            argument[:] = struct.pack("=QQq", 0, 4096 * len(path), max(minimum, 512))
        else:
            self.frozen[path] = self.frozen.get(path, 0) + (1 if request == FIFREEZE else -1)
        return 0


@dataclass
class Guest:
    kernel: Kernel
    programs: FakePrograms
    statedir: Path
    ctx: Context
    dispatcher: Dispatcher
    loop: StillLoop

    def ask(self, name: str, **arguments: object) -> Any:
        reply = carried_out(self.dispatcher, {"execute": name, "arguments": arguments})
        assert reply is not None
        return reply.body

    def status(self) -> str:
        found: str = self.ask("guest-fsfreeze-status")["return"]
        assert (self.statedir / MARKER).exists() == (found == "frozen")
        return found

    @property
    def frozen(self) -> set[str]:
        return {path for path, count in self.kernel.frozen.items() if count}


def make(
    tmp_path: Path,
    programs: FakePrograms,
    hook: str | None = None,
    block: tuple[str, ...] = (),
    mounts: str = "",
    **settings: object,
) -> Guest:
    root, statedir = tmp_path / "guest", tmp_path / "state"
    root.mkdir(exist_ok=True)
    statedir.mkdir(exist_ok=True)
    kernel = Kernel(programs, str(root))
    lines = [
        f"{n} {n and 1} {number} / {path} rw - ext4 /dev/x rw\n" for n, (path, number) in enumerate(MOUNTS.items(), 1)
    ]
    write(kernel, "/proc/self/mountinfo", mounts or "".join(lines) + OTHERS)
    for path in MOUNTS:
        Path(kernel.path(path)).mkdir(parents=True, exist_ok=True)
    commands = schema.load()
    config = defaults(fsfreeze_hook=hook, **settings)
    freeze = FreezeState(str(statedir), config.fsfreeze_timeout)
    policy = Policy(block=block, while_frozen=commands.allowed_while_frozen)
    freeze.subscribe(policy.on_freeze)
    loop = StillLoop()
    ctx = context(kernel, commands, policy, loop=cast(Loop, loop), freeze=freeze, config=config)
    return Guest(kernel, programs, statedir, ctx, Dispatcher(ctx, bind(commands)), loop)


@pytest.fixture
def guest(tmp_path: Path, programs: FakePrograms) -> Guest:
    return make(tmp_path, programs)


def test_freeze_and_thaw(guest: Guest) -> None:
    assert guest.status() == "thawed"
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 3}
    assert guest.kernel.done == [("freeze", "/var/lib"), ("freeze", "/data"), ("freeze", "/")]
    assert guest.status() == "frozen"
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 3}
    assert guest.kernel.done[3:] == [("thaw", "/"), ("thaw", "/data"), ("thaw", "/var/lib")]
    assert guest.status() == "thawed"


def test_only_six_commands_while_frozen(tmp_path: Path, programs: FakePrograms) -> None:
    """A host must be able to thaw, whatever the configured lists of commands say."""
    guest = make(tmp_path, programs, block=("guest-fsfreeze-thaw", "guest-ping"))
    refused = "Command {} has been disabled: the command is not allowed"
    assert guest.ask("guest-ping")["error"]["desc"] == refused.format("guest-ping")
    guest.ask("guest-fsfreeze-freeze")
    info = guest.ask("guest-info")["return"]["supported_commands"]
    assert {command["name"] for command in info if command["enabled"]} == {
        "guest-ping",
        "guest-info",
        "guest-sync",
        "guest-sync-delimited",
        "guest-fsfreeze-status",
        "guest-fsfreeze-thaw",
    }
    for name in ("guest-fsfreeze-freeze", "guest-get-time", "guest-exec"):
        assert guest.ask(name)["error"] == {"class": "CommandNotFound", "desc": refused.format(name)}
    assert guest.ask("guest-ping") == {"return": {}}
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 3}
    assert "error" in guest.ask("guest-fsfreeze-thaw")


def test_listed_mount_points_only(guest: Guest) -> None:
    wanted = ["/data", "/data", "/data/", "/bind", "/proc", "/nowhere"]
    assert guest.ask("guest-fsfreeze-freeze-list", mountpoints=wanted) == {"return": 1}
    assert guest.frozen == {"/data"}
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 1}
    assert guest.ask("guest-fsfreeze-freeze-list", mountpoints=[]) == {"return": 0}
    assert guest.status() == "thawed"
    assert guest.ask("guest-fsfreeze-freeze-list") == {"return": 3}


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EBUSY])
def test_filesystems_that_cannot_be_frozen_or_are_already_frozen(guest: Guest, number: int) -> None:
    guest.kernel.refuse[FIFREEZE, "/data"] = number
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 2}
    assert guest.frozen == {"/", "/var/lib"}


def test_a_freeze_that_fails_thaws_the_rest(guest: Guest) -> None:
    guest.kernel.refuse[FIFREEZE, "/"] = errno.EIO
    assert guest.ask("guest-fsfreeze-freeze") == failed("failed to freeze /: Input/output error")
    assert (guest.frozen, guest.status()) == (set(), "thawed")


def test_a_mount_point_that_cannot_be_opened_thaws_the_rest(guest: Guest) -> None:
    Path(guest.kernel.path("/data")).rmdir()
    assert guest.ask("guest-fsfreeze-freeze") == failed("failed to open /data: No such file or directory")
    assert (guest.frozen, guest.status()) == (set(), "thawed")


def test_nothing_to_freeze_leaves_it_thawed(tmp_path: Path, programs: FakePrograms) -> None:
    programs.answers["/hook"] = Outcome(status=0)
    guest = make(tmp_path, programs, hook="/hook", mounts="1 1 0:2 / / rw - tmpfs tmpfs rw\n")
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 0}
    assert (guest.status(), programs.calls) == ("thawed", ["/hook freeze"])


def test_thaw_when_nothing_is_frozen(tmp_path: Path, programs: FakePrograms) -> None:
    programs.answers["/hook"] = Outcome(status=0)
    guest = make(tmp_path, programs, hook="/hook")
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}
    assert programs.calls == ["/hook thaw"]


def test_thaw_repeats_until_the_kernel_says_it_is_thawed(guest: Guest) -> None:
    guest.kernel.frozen["/data"] = 3
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 1}
    assert guest.frozen == set()


def test_thaw_skips_mount_points_that_cannot_be_opened(guest: Guest) -> None:
    guest.ask("guest-fsfreeze-freeze")
    Path(guest.kernel.path("/data")).rmdir()
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 2}
    assert guest.status() == "thawed"


def test_mount_list_that_cannot_be_read(guest: Guest) -> None:
    no_list = failed("failed to open mtab file: '/proc/self/mounts'")
    guest.ask("guest-fsfreeze-freeze")
    mountinfo = Path(guest.kernel.path("/proc/self/mountinfo"))
    kept = mountinfo.read_text()
    mountinfo.unlink()
    assert guest.ask("guest-fsfreeze-thaw") == no_list
    assert guest.status() == "frozen"
    mountinfo.write_text(kept)
    guest.ask("guest-fsfreeze-thaw")
    mountinfo.unlink()
    assert guest.ask("guest-fsfreeze-freeze") == no_list
    assert guest.status() == "thawed"


HOOK_FAILURES = [
    (Outcome(status=3), "child process has failed to execute fsfreeze hook: /hook: exit status 3"),
    (
        Outcome(status=1, output=b"no\n"),
        "child process has failed to execute fsfreeze hook: /hook: exit status 1: no\n",
    ),
    (Outcome(signal=9), "child process has terminated abnormally: /hook: killed by SIGKILL"),
    (Outcome(signal=9, output=b"half"), "child process has terminated abnormally: /hook: killed by SIGKILL: half"),
    (Outcome(errno=13), "child process has failed to execute fsfreeze hook: /hook: cannot be run: Permission denied"),
    (Outcome(timeout=30.0), "child process has failed to execute fsfreeze hook: /hook: timed out after 30 s"),
]


@pytest.mark.parametrize(("outcome", "said"), HOOK_FAILURES)
def test_hook_that_fails_before_the_freeze(
    tmp_path: Path, programs: FakePrograms, outcome: Outcome, said: str
) -> None:
    programs.answers |= {"/hook freeze": outcome, "/hook thaw": Outcome(status=0)}
    guest = make(tmp_path, programs, hook="/hook")
    assert guest.ask("guest-fsfreeze-freeze") == failed(said)
    assert (guest.status(), guest.kernel.done, programs.calls) == ("thawed", [], ["/hook freeze", "/hook thaw"])


@pytest.mark.parametrize(("outcome", "said"), HOOK_FAILURES)
def test_hook_that_fails_after_the_thaw(tmp_path: Path, programs: FakePrograms, outcome: Outcome, said: str) -> None:
    programs.answers |= {"/hook freeze": Outcome(status=0), "/hook thaw": outcome}
    guest = make(tmp_path, programs, hook="/hook")
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 3}
    assert guest.ask("guest-fsfreeze-thaw") == failed(said)
    assert (guest.status(), guest.frozen) == ("thawed", set())


@pytest.fixture
def hook_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "guest/hooks.d"
    directory.mkdir(parents=True)
    for name in (
        "20-b",
        "10-a",
        "30-c",
        "30-c~",
        "10-a.dpkg-old",
        "20-b.rpmsave",
        ".hidden",
        "#x#",
        "y.sample",
        "notes",
    ):
        (directory / name).write_text("")
        (directory / name).chmod(0o644 if name == "notes" else 0o755)
    (directory / "sub").mkdir()
    return directory


def hook_answers(**failing: Outcome) -> dict[str, Outcome]:
    fine = {f"/hooks.d/{name}": Outcome(status=0) for name in ("10-a", "20-b", "30-c")}
    return {f"/hooks.d/{name.replace('_', '-')[1:]} freeze": outcome for name, outcome in failing.items()} | fine


@pytest.mark.usefixtures("hook_directory")
def test_directory_of_hooks_runs_in_order_and_back(tmp_path: Path, programs: FakePrograms) -> None:
    programs.answers |= hook_answers()
    guest = make(tmp_path, programs, hook="/hooks.d")
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 3}
    assert programs.calls == ["/hooks.d/10-a freeze", "/hooks.d/20-b freeze", "/hooks.d/30-c freeze"]
    programs.calls.clear()
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 3}
    assert programs.calls == ["/hooks.d/30-c thaw", "/hooks.d/20-b thaw", "/hooks.d/10-a thaw"]


@pytest.mark.usefixtures("hook_directory")
def test_hooks_that_ran_are_called_to_thaw_once_when_another_fails(tmp_path: Path, programs: FakePrograms) -> None:
    programs.answers |= hook_answers(_20_b=Outcome(status=4, output=b"x" * 5000 + b"disk full\n"))
    guest = make(tmp_path, programs, hook="/hooks.d")
    said = guest.ask("guest-fsfreeze-freeze")["error"]["desc"]
    assert said.startswith("child process has failed to execute fsfreeze hook: /hooks.d/20-b: exit status 4: xxx")
    assert said.endswith("disk full\n")
    assert len(said) < 4300
    assert programs.calls == [
        "/hooks.d/10-a freeze",
        "/hooks.d/20-b freeze",
        "/hooks.d/20-b thaw",
        "/hooks.d/10-a thaw",
    ]
    assert (guest.status(), guest.kernel.done) == ("thawed", [])


@pytest.mark.parametrize(
    ("spoiled", "mode", "said"),
    [
        ("20-b", 0o757, "users other than root may write to {} (mode 0757)"),
        ("20-b", 0o775, "users other than root may write to {} (mode 0775)"),
        ("20-b", 0o1777, "users other than root may write to {} (mode 1777)"),
        ("", 0o777, "users other than root may write to {} (mode 0777)"),
    ],
)
def test_hook_that_others_may_write_is_refused(
    hook_directory: Path, tmp_path: Path, programs: FakePrograms, spoiled: str, mode: int, said: str
) -> None:
    """The freeze fails too: a backup taken without its hooks is not consistent."""
    programs.answers |= hook_answers()
    (hook_directory / spoiled).chmod(mode)
    guest = make(tmp_path, programs, hook="/hooks.d")
    path = "/".join(filter(None, ("/hooks.d", spoiled)))
    reason = said.format(hook_directory / spoiled)
    assert guest.ask("guest-fsfreeze-freeze") == failed(f"fsfreeze hook {path} is refused: {reason}")
    assert (guest.status(), guest.kernel.done, programs.calls) == ("thawed", [], [])


def test_hook_of_another_user_is_refused(hook_directory: Path, tmp_path: Path, programs: FakePrograms) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(hook_directory / "10-a", 12345, 0)
    guest = make(tmp_path, programs, hook="/hooks.d")
    said = f"fsfreeze hook /hooks.d/10-a is refused: {hook_directory}/10-a belongs to user 12345, expected root"
    assert guest.ask("guest-fsfreeze-freeze") == failed(said)


@pytest.mark.parametrize("globs", [("/data", "nothing"), ("/d*",), ("/dev/vdb",), ("xf?",)])
def test_excluded_filesystems(tmp_path: Path, programs: FakePrograms, globs: tuple[str, ...]) -> None:
    mounts = "1 1 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 254:2 / /data rw - xfs /dev/vdb rw\n"
    guest = make(tmp_path, programs, mounts=mounts, exclude_fs=globs)
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 1}
    assert guest.frozen == {"/"}
    guest.kernel.frozen["/data"] = 1
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 2}, "the list may have changed since"
    assert [entry["path"] for entry in guest.ask("guest-fstrim")["return"]["paths"]] == ["/"]
    assert [entry["mountpoint"] for entry in guest.ask("guest-get-fsinfo")["return"]] == ["/"]


def test_freeze_that_is_never_thawed_ends_at_its_deadline(tmp_path: Path, programs: FakePrograms) -> None:
    programs.answers["/hook"] = Outcome(status=0)
    guest = make(tmp_path, programs, hook="/hook", fsfreeze_timeout=90)
    before = time.monotonic()
    guest.ask("guest-fsfreeze-freeze")
    freeze = guest.ctx.freezer.state
    assert freeze.deadline is not None
    assert before + 90 <= freeze.deadline <= time.monotonic() + 90
    now(guest.ctx.freezer.thaw_overdue(freeze.generation))
    assert (guest.status(), guest.frozen) == ("thawed", set())
    assert programs.calls == ["/hook freeze", "/hook thaw"]
    said = guest.ask("guest-fsfreeze-thaw")["error"]["desc"]
    assert re.sub("[0-9-]{10}T[0-9:]{8}Z", "TIME", said) == (
        "the guest was thawed early, at TIME: it had been frozen for 90 s (fsfreeze-timeout); "
        "what was copied since then is not consistent"
    )
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}
    guest.ask("guest-fsfreeze-freeze")
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 3}


def test_old_timer_does_not_end_a_new_freeze(guest: Guest) -> None:
    guest.ask("guest-fsfreeze-freeze")
    old = guest.ctx.freezer.state.generation
    guest.ask("guest-fsfreeze-thaw")
    guest.ask("guest-fsfreeze-freeze")
    now(guest.ctx.freezer.thaw_overdue(old))
    assert guest.status() == "frozen"
    now(guest.ctx.freezer.thaw_overdue(guest.ctx.freezer.state.generation))
    assert guest.status() == "thawed"


def test_timer_is_armed_while_something_is_frozen_and_thaws_it(guest: Guest) -> None:
    def live() -> list[float]:
        return [timer.delay for timer in guest.loop.timers if timer.live]

    guest.ask("guest-fsfreeze-freeze")
    (delay,) = live()
    assert 590 < delay <= 600
    guest.ask("guest-fsfreeze-thaw")
    assert live() == []
    guest.ask("guest-fsfreeze-freeze")
    while guest.loop.timers:
        guest.loop.fire()
    assert guest.status() == "thawed"
    assert "was thawed early" in guest.ask("guest-fsfreeze-thaw")["error"]["desc"]


def test_deadline_survives_the_agent(tmp_path: Path) -> None:
    first = FreezeState(str(tmp_path), timeout=90)
    first.freeze()
    second = FreezeState(str(tmp_path), timeout=5)
    assert (second.frozen, second.deadline) == (True, first.deadline)
    second.thaw()
    FreezeState(str(tmp_path), timeout=0).freeze()
    assert FreezeState(str(tmp_path), timeout=5).deadline is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"boot": 1}', '{"boot": "x", "deadline": "soon"}', "\udc80"])
def test_marker_that_another_agent_has_left(tmp_path: Path, content: str) -> None:
    """QEMU's own is empty."""
    (tmp_path / MARKER).write_bytes(content.encode(errors="surrogateescape"))
    state = FreezeState(str(tmp_path), timeout=90)
    assert state.frozen
    assert state.deadline is not None
    assert state.deadline > time.monotonic() + 60


def test_freeze_of_an_earlier_boot_has_ended_with_it(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"boot": "another", "deadline": 17.0}')
    state = FreezeState(str(tmp_path), timeout=90)
    assert (state.frozen, state.deadline, os.listdir(tmp_path)) == (False, None, [NOTE])


def test_thaw_waits_for_a_freeze_that_a_killed_agent_has_left_behind(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezer, "PATIENCE", 0.2)
    guest.ask("guest-fsfreeze-freeze")
    with (guest.statedir / MARKER).open() as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        assert guest.ask("guest-fsfreeze-thaw") == failed("an earlier freeze is still under way")
        assert (guest.status(), guest.frozen) == ("frozen", set())
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}
    assert guest.status() == "thawed"


def test_hook_is_called_to_thaw_when_the_freeze_failed(tmp_path: Path, programs: FakePrograms) -> None:
    programs.answers |= {"/hook freeze": Outcome(status=0), "/hook thaw": Outcome(status=1)}
    guest = make(tmp_path, programs, hook="/hook")
    guest.kernel.refuse[FIFREEZE, "/"] = errno.EIO
    assert guest.ask("guest-fsfreeze-freeze") == failed("failed to freeze /: Input/output error")
    assert programs.calls == ["/hook freeze", "/hook thaw"]


def test_agent_that_starts_where_one_was_killed(tmp_path: Path, programs: FakePrograms) -> None:
    first = make(tmp_path, programs)
    first.ask("guest-fsfreeze-freeze")
    second = make(tmp_path, programs)
    second.kernel.frozen.update(first.kernel.frozen)
    assert second.status() == "frozen"
    assert "error" in second.ask("guest-get-time")
    assert second.ask("guest-fsfreeze-thaw") == {"return": 3}
    assert second.status() == "thawed"


def test_marker_that_cannot_be_created_does_not_prevent_the_freeze(
    guest: Guest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guest.statedir.rmdir()
    assert guest.ask("guest-fsfreeze-freeze") == {"return": 3}
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 3}
    assert f"cannot create {guest.statedir / MARKER}: No such file or directory" in caplog.messages


def test_filesystem_in_an_image_file_comes_before_the_one_that_holds_the_file(guest: Guest) -> None:
    """By mount order the outer filesystem is the later one, and would wrongly be frozen first."""
    mounts = (
        "1 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
        "2 1 253:5 / /inner rw - ext4 /dev/mapper/crypt rw\n"
        "3 1 7:1 / /nested rw - ext4 /dev/loop1 rw\n"
        "4 1 254:2 / /data rw - ext4 /dev/vda2 rw\n"
    )
    write(guest.kernel, "/proc/self/mountinfo", mounts)
    write(guest.kernel, "/sys/devices/virtual/block/loop0/loop/backing_file", "/data/images/a.img\n")
    write(guest.kernel, "/sys/devices/virtual/block/loop0/loop0p1/partition", "1\n")
    write(guest.kernel, "/sys/devices/virtual/block/loop1/loop/backing_file", "/inner/b.img\n")
    dm = Path(guest.kernel.path("/sys/devices/virtual/block/dm-5"))
    (dm / "slaves").mkdir(parents=True)
    (dm / "slaves/loop0p1").symlink_to("../../loop0/loop0p1")
    numbers = Path(guest.kernel.path("/sys/dev/block"))
    numbers.mkdir(parents=True)
    (numbers / "253:5").symlink_to("../../devices/virtual/block/dm-5")
    (numbers / "7:1").symlink_to("../../devices/virtual/block/loop1")
    order = [mount.mountpoint for mount in freezing_order(guest.kernel, list_mounts(guest.kernel))]
    assert order == ["/nested", "/inner", "/data", "/"]


def stacked(guest: Guest, mounts: str, disks: dict[str, str], files: dict[str, str]) -> list[str]:
    """Return the freeze order. ``disks`` maps each number in /sys/dev/block to its directory below /sys."""
    write(guest.kernel, "/proc/self/mountinfo", mounts)
    numbers = Path(guest.kernel.path("/sys/dev/block"))
    numbers.mkdir(parents=True)
    for number, directory in disks.items():
        Path(guest.kernel.path(f"/sys/{directory}")).mkdir(parents=True, exist_ok=True)
        (numbers / number).symlink_to(f"../../{directory}")
    for path, text in files.items():
        write(guest.kernel, path, text)
    return [mount.mountpoint for mount in freezing_order(guest.kernel, list_mounts(guest.kernel))]


def test_filesystem_whose_backing_is_unknown_comes_first(guest: Guest) -> None:
    """A network block device or a file on a server may itself be served by this guest."""
    mounts = (
        "1 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
        "2 1 43:0 / /nbd rw - ext4 /dev/nbd0 rw\n"
        "3 1 0:50 / /server rw - fuse server rw\n"
        "4 1 7:0 / /loop rw - ext4 /dev/loop0 rw\n"
        "5 1 254:2 / /data rw - ext4 /dev/vda2 rw\n"
    )
    disks = {
        "254:1": "devices/virtio0/block/vda/vda1",
        "254:2": "devices/virtio0/block/vda/vda2",
        "43:0": "devices/virtual/block/nbd0",
        "7:0": "devices/virtual/block/loop0",
    }
    files = {"/sys/devices/virtual/block/loop0/loop/backing_file": "/server/image\n"}
    for name in ("nbd0", "loop0"):
        Path(guest.kernel.path(f"/sys/devices/virtual/block/{name}/slaves")).mkdir(parents=True)
    assert stacked(guest, mounts, disks, files) == ["/loop", "/nbd", "/data", "/"]


def test_overlay_whose_upper_directory_is_not_found_here(guest: Guest) -> None:
    mounts = (
        "1 1 254:1 / / rw - ext4 /dev/vda1 rw\n"
        "2 1 7:0 / /loop rw - ext4 /dev/loop0 rw\n"
        "3 1 0:50 / /over rw - overlay overlay rw,lowerdir=/l,upperdir={},workdir=/w\n"
        "4 1 254:2 / /data rw - ext4 /dev/vda2 rw\n"
    )
    files = {"/sys/devices/virtual/block/loop0/loop/backing_file": "/over/image\n"}
    disks = {"7:0": "devices/virtual/block/loop0"}
    assert stacked(guest, mounts.format("relative/upper"), disks, files) == ["/loop", "/data", "/"]


def test_image_files_that_contain_each_other_do_not_loop(guest: Guest) -> None:
    """A moved image file can make the links of sysfs cyclic; some order is still found."""
    write(
        guest.kernel,
        "/proc/self/mountinfo",
        "1 1 7:0 / / rw - ext4 /dev/loop0 rw\n2 1 7:1 / /a rw - ext4 /dev/loop1 rw\n",
    )
    for number, file in ((0, "/a/x"), (1, "/y")):
        write(guest.kernel, f"/sys/devices/virtual/block/loop{number}/loop/backing_file", f"{file}\n")
        Path(guest.kernel.path("/sys/dev/block")).mkdir(parents=True, exist_ok=True)
        Path(guest.kernel.path(f"/sys/dev/block/7:{number}")).symlink_to(f"../../devices/virtual/block/loop{number}")
    order = freezing_order(guest.kernel, list_mounts(guest.kernel))
    assert {mount.mountpoint for mount in order} == {"/", "/a"}


def no_process(work: object, keep: object = ()) -> NoReturn:
    raise NotStartedError("failed to create child process: Resource temporarily unavailable")


def test_when_fork_fails_nothing_is_frozen_and_everything_is_thawed(guest: Guest) -> None:
    """The agent itself then thaws, as a blocked agent is better than a guest that stays frozen."""
    guest.ask("guest-fsfreeze-freeze")
    guest.kernel.begin = no_process
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 3}
    assert (guest.status(), guest.frozen) == ("thawed", set())
    assert guest.ask("guest-fsfreeze-freeze") == failed(
        "failed to create child process: Resource temporarily unavailable"
    )
    assert (guest.status(), guest.frozen) == ("thawed", set())


class Hanging(ImmediateAttempt[T]):
    """A call that the kernel never answers."""

    def __init__(self, work: Callable[[], AbstractContextManager[T]], keep: Sequence[int] = ()) -> None:
        self._work = work
        self.descriptor, self._writing = os.pipe()

    def answer(self) -> T:
        return ImmediateAttempt(self._work).answer()

    def give_up(self) -> None:
        os.close(self._writing)
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def test_without_a_nesting_order_in_time_the_mount_order_is_used(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop device waits for the server of its file, which may be dead."""
    monkeypatch.setattr(freezing, "ORDER_WAIT", 0.0)
    guest.kernel.begin = Hanging
    order = freezing_order(guest.kernel, list_mounts(guest.kernel))
    assert [mount.mountpoint for mount in order] == ["/var/lib", "/data", "/"]
    assert "what lies in what is not known after 0 s: the last mounted is frozen first" in caplog.messages


def test_deadline_bounds_the_hooks_as_well(tmp_path: Path, programs: FakePrograms) -> None:
    guest = make(tmp_path, programs, hook="/hook", fsfreeze_timeout=9, fsfreeze_hook_timeout=0)
    bounds = []

    def run(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 0) -> Outcome:
        bounds.append((argv[1], timeout))
        return Outcome(status=0)

    guest.kernel.run = run
    guest.ask("guest-fsfreeze-freeze")
    guest.ask("guest-fsfreeze-thaw")
    (_, freezing), (_, thawing) = bounds
    assert 0 < freezing <= 9
    assert thawing > 9


def test_filesystem_that_hangs_stays_frozen_until_the_kernel_answers(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One of three mount points hangs: the status is frozen, and nothing else blocks meanwhile."""
    monkeypatch.setattr(freezing, "UNDO_WAIT", 0.0)
    monkeypatch.setattr(quiesce, "UNDO_WAIT", 0.0)
    monkeypatch.setattr(freezer, "PATIENCE", 0.0)
    guest.ask("guest-fsfreeze-freeze")
    hanging: list[Hanging[Any]] = []

    def begin(work: Callable[[], AbstractContextManager[T]], keep: Sequence[int] = ()) -> Attempt[T]:
        if work.args[-1].mountpoint == "/data":  # type: ignore[attr-defined]
            hanging.append(Hanging(work, keep))
            return hanging[-1]
        return ImmediateAttempt(work, keep)

    guest.kernel.begin = begin
    message = "the kernel does not answer about /data, which is thawed as soon as it does"
    assert guest.ask("guest-fsfreeze-thaw") == failed(message)
    assert (guest.status(), guest.frozen) == ("frozen", {"/data"})
    with (guest.statedir / MARKER).open() as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)  # as the process does that hangs
        for _ in range(3):
            with pytest.raises(CommandError, match=message):
                now(guest.ctx.freezer.thaw_overdue(guest.ctx.freezer.state.generation))
        assert len(hanging) == 1
        assert guest.ask("guest-fsfreeze-thaw") == failed(message)
        assert len(hanging) == 1, "a host cannot pile up processes that hang"
    guest.kernel.begin = ImmediateAttempt
    now(guest.ctx.freezer.thaw_overdue(guest.ctx.freezer.state.generation))
    assert (guest.status(), guest.frozen) == ("thawed", set())
    assert "the kernel has answered at last: nothing is frozen any more at /data" in caplog.messages


def test_thaw_at_the_deadline_that_hangs_is_still_an_error_of_the_next_thaw(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezer, "PATIENCE", 0.0)
    guest.ask("guest-fsfreeze-freeze")
    guest.kernel.begin = Hanging
    monkeypatch.setattr(guest.kernel, "within", lambda seconds, work: work())
    with pytest.raises(CommandError, match="does not answer about /, /data, /var/lib"):
        now(guest.ctx.freezer.thaw_overdue(guest.ctx.freezer.state.generation))
    assert guest.status() == "frozen"
    guest.kernel.begin = ImmediateAttempt
    assert "was thawed early" in guest.ask("guest-fsfreeze-thaw")["error"]["desc"]
    assert (guest.status(), guest.frozen) == ("thawed", set())
    assert guest.ask("guest-fsfreeze-thaw") == {"return": 0}


def test_trim(guest: Guest) -> None:
    guest.kernel.refuse[FITRIM, "/data"] = errno.EOPNOTSUPP
    assert guest.ask("guest-fstrim") == {
        "return": {
            "paths": [
                {"path": "/var/lib", "trimmed": 32768, "minimum": 512},
                {"path": "/data", "error": "trim not supported"},
                {"path": "/", "trimmed": 4096, "minimum": 512},
            ]
        }
    }
    guest.kernel.refuse[FITRIM, "/data"] = errno.EIO
    Path(guest.kernel.path("/var/lib")).rmdir()
    assert guest.ask("guest-fstrim", minimum=65536)["return"]["paths"] == [
        {"path": "/var/lib", "error": "failed to open: No such file or directory"},
        {"path": "/data", "error": "failed to trim: Input/output error"},
        {"path": "/", "trimmed": 4096, "minimum": 65536},
    ]
    guest.kernel.refuse[FITRIM, "/data"] = errno.ENOTTY
    assert guest.ask("guest-fstrim", minimum=-1)["return"]["paths"][1:] == [
        {"path": "/data", "error": "trim not supported"},
        {"path": "/", "trimmed": 4096, "minimum": 512},
    ]
