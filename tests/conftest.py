"""Fixtures for every test: a guard against touching the machine, and stand-ins for its programs and files."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pwd import struct_passwd
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import settings
from jsonschema import Draft4Validator

from qga.agent.binding import bind
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host, Outcome
from qga.agent.policy import Policy
from qga.agent.service import log
from qga.agent.session import Session
from qga.agent.tasks import Pending, Task
from qga.protocol import schema
from tests.contexts import context

T = TypeVar("T")

# The same inputs at every run, so that no run fails by chance; ``make fuzz`` draws others.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


# The groups of tests that take longest, which are begun first: one needs no guest, which is built meanwhile.
FIRST_GROUPS = ("test_reference", "packages", "shared guest", "test_packages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests for ``make test``: those of a guest come first."""

    def rank(item: pytest.Item) -> int:
        group = item.get_closest_marker("xdist_group")
        if group is None:
            return len(FIRST_GROUPS) + 1
        return FIRST_GROUPS.index(group.args[0]) if group.args[0] in FIRST_GROUPS else len(FIRST_GROUPS)

    items.sort(key=rank)


@pytest.fixture(autouse=True, scope="session")
def _signals() -> None:
    """Restore the default signals, so that programs can be interrupted even under nohup(1) or with an ``&``."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_log_stays() -> Iterator[None]:
    """Restore the logging module after each test."""
    yield
    while (installed := log.installed()) is not None:
        installed.close()
    for name in ("qga", log.CALLS):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _no_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a test that forks or calls ioctl(2) by accident fail; a test that needs to is marked ``forks``."""

    def refuse(name: str) -> object:
        def refused(*arguments: object, **keywords: object) -> None:
            pytest.fail(f"{name} was called by a test that is not marked for it")

        return refused

    guarded = [(time, "clock_settime"), (time, "clock_settime_ns")]  # no test needs these
    if not (request.node.get_closest_marker("forks") or request.node.get_closest_marker("vm")):
        guarded += [(os, "fork"), (os, "posix_spawn"), (os, "execvp"), (fcntl, "ioctl")]
    for module, name in guarded:
        monkeypatch.setattr(module, name, refuse(name))


@dataclass
class FakePrograms:
    """Programs that answer as a test says, and remember how they were called.

    A program without an answer is not installed.
    """

    answers: dict[str, Outcome] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 0) -> Outcome:
        line = " ".join(argv)
        self.calls.append(line)
        for known, outcome in self.answers.items():
            if line == known or line.startswith(known + " "):
                return outcome
        return Outcome(errno=2)

    def which(self, program: str) -> str | None:
        known = any(line.split()[0] == program for line in self.answers)
        return f"/usr/bin/{program}" if known else None


def without_becoming_the_user(user: struct_passwd, work: Callable[[], bytes]) -> bytes:
    """Stand in for ``processes.run_as``: do the work without becoming the user."""
    return work()


@pytest.fixture
def programs() -> FakePrograms:
    return FakePrograms()


@pytest.fixture
def host(tmp_path: Path, programs: FakePrograms) -> Host:
    """A guest whose files lie below ``host.root`` and whose programs are ``programs``."""
    root = tmp_path / "guest"
    root.mkdir()
    return Host(run=programs.run, which=programs.which, root=str(root), run_as=without_becoming_the_user)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Fails a test that leaves a descriptor open."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    leaked = set(os.listdir("/proc/self/fd")) - before
    assert {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in leaked if os.path.lexists(f"/proc/self/fd/{fd}")} == {}


@pytest.fixture
def new_session(host: Host) -> Callable[[], Session]:
    """Sessions of an agent whose guest is ``host``."""
    commands = schema.load()
    dispatcher = Dispatcher(context(host, commands, Policy()), bind(commands))
    return lambda: Session(dispatcher)


@pytest.fixture
def execute(host: Host) -> Callable[..., dict[str, Any]]:
    """Carries out a command of an agent whose guest is ``host``: the reply's body, held to what the schema says."""
    return executor(host, schema.load())


def executor(host: Host, commands: schema.Schema) -> Callable[..., dict[str, Any]]:
    """Like the fixture ``execute``, with other commands."""
    dispatcher = Dispatcher(context(host, commands, Policy()), bind(commands))

    def carry_out(name: str, **arguments: object) -> dict[str, Any]:
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        reply = carried_out(dispatcher, {"execute": name, "arguments": arguments})
        assert reply is not None
        returns = commands.commands[name].returns
        if "return" in reply.body and returns is not None:
            Draft4Validator(commands.type(returns)).validate(reply.body["return"])
        return reply.body

    return carry_out


def now(coroutine: Coroutine[Pending[Any], None, T]) -> T:
    """Return the result of a coroutine that never has to wait."""
    task = Task(coroutine)
    assert task.done
    return task.result()


class Reply(NamedTuple):
    """A reply's body, and whether one byte 0xFF stands before it."""

    body: dict[str, Any]
    delimited: bool = False


def carried_out(dispatcher: Dispatcher, message: object, size: int = 0) -> Reply | None:
    """Return the reply to a message whose handler never has to wait."""
    line = dispatcher.handle(message, size)
    if isinstance(line, Task):
        assert line.done
        line = line.result()
    return None if line is None else Reply(json.loads(line.removeprefix(b"\xff")), line.startswith(b"\xff"))


def failed(desc: str) -> dict[str, Any]:
    """The body of a reply to a command that the guest could not carry out."""
    return {"error": {"class": "GenericError", "desc": desc}}


def write(host: Host, path: str, text: str) -> None:
    """Put a file into the guest's tree."""
    target = Path(host.path(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
