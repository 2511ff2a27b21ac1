"""The fake guest, and how the clients handle its faults."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from functools import partial

import pytest

import qga.testing
from qga.client import AgentTimeout, AgentUnreachable, AsyncClient, Client, CommandFailed, CommandNotFound, OutOfStep
from qga.protocol import schema
from qga.protocol.errors import CommandError
from qga.protocol.validate import first_complaint
from qga.testing import FakeGuest
from qga.testing.handlers import least


def test_every_command_answers_what_its_schema_allows() -> None:
    known = schema.load()
    for command in known.commands.values():
        if command.returns is not None:
            shape = known.type(command.returns)
            assert first_complaint(shape, least(shape)) is None, command.name


def test_canned_and_computed_answers(fake_guest: FakeGuest) -> None:
    fake_guest.answer("guest-get-osinfo", {"id": "debian"})
    fake_guest.answer("guest-set-vcpus", lambda vcpus: len(vcpus))
    with Client(fake_guest.address) as guest:
        assert guest.guest_get_osinfo().id == "debian"
        assert guest.guest_get_osinfo().name is None
        assert guest.guest_set_vcpus([]) == 0
        assert guest.guest_get_disks() == []
    assert fake_guest.commands == ["guest-get-osinfo", "guest-get-osinfo", "guest-set-vcpus", "guest-get-disks"]


@pytest.mark.parametrize(
    ("command", "value"), [("guest-get-osinfo", {"nonsense": 1}), ("guest-ping", 5), ("guest-of-tomorrow", {})]
)
def test_an_answer_that_no_agent_gives_is_refused(fake_guest: FakeGuest, command: str, value: object) -> None:
    with pytest.raises(ValueError, match=command):
        fake_guest.answer(command, value)


def test_a_computed_answer_may_be_an_error(fake_guest: FakeGuest) -> None:
    def fail() -> None:
        raise CommandError("no disks today")

    fake_guest.answer("guest-get-disks", fail)
    with Client(fake_guest.address) as guest, pytest.raises(CommandFailed, match="no disks today"):
        guest.guest_get_disks()


def test_requests_are_checked_against_the_schema(fake_guest: FakeGuest) -> None:
    with Client(fake_guest.address) as guest:
        with pytest.raises(CommandFailed, match="Parameter 'path' is missing"):
            guest.call("guest-file-open")
        with pytest.raises(CommandNotFound):
            guest.call("guest-of-tomorrow")


def test_files_and_programs(fake_guest: FakeGuest) -> None:
    fake_guest.files["/etc/hostname"] = bytearray(b"fake\n")
    fake_guest.programs["upper"] = lambda words, data: (len(words), data.upper(), b"")
    with Client(fake_guest.address) as guest:
        with guest.open("/etc/hostname") as file:
            assert file.read() == b"fake\n"
        with guest.open("/new", "w") as file:
            file.write(b"hello")
        done = guest.run(["upper", "a"], input=b"x")
        assert (done.returncode, done.stdout) == (1, b"X")
    assert fake_guest.files["/new"] == b"hello"


def test_what_cannot_be_done_is_refused_in_the_agents_words(fake_guest: FakeGuest) -> None:
    fake_guest.files["/a"] = b"abc"
    with Client(fake_guest.address) as guest:
        handle = guest.guest_file_open("/a")
        for call, refusal in (
            (partial(guest.guest_file_open, "/none"), "failed to open file '/none' (mode: 'r'): No such file or dir"),
            (partial(guest.guest_file_open, "/a", "rx"), "invalid file open mode 'rx'"),
            (partial(guest.guest_file_write, handle, "QUJD"), "failed to write to file: Bad file descriptor"),
            (partial(guest.guest_file_read, handle, -1), "value '-1' is invalid for argument count"),
            (partial(guest.guest_file_read, 1), "handle '1' has not been found"),
            (partial(guest.guest_exec, "nonsuch"), "Failed to execute child process “nonsuch” (No such file or"),
            (partial(guest.guest_exec_status, 7), "PID 7 does not exist"),
        ):
            with pytest.raises(CommandFailed, match=re.escape(refusal)):
                call()


def test_what_is_not_a_request_is_answered_as_by_the_agent(fake_guest: FakeGuest) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(fake_guest.path)
        peer.sendall(
            b'{"execute": []}\n[1]\n{"execute": "guest-ping", "arguments": 1}\n{"execute": "guest-ping", "id": 5}\n'
        )
        with peer.makefile("rb") as lines:
            replies = [json.loads(lines.readline()) for _ in range(4)]
    assert [reply.get("error", {}).get("desc") for reply in replies] == [
        "QMP input member 'execute' must be a string",
        "QMP input must be a JSON object",
        "QMP input member 'arguments' must be an object",
        None,
    ]
    assert replies[3] == {"return": {}, "id": 5}
    assert fake_guest.requests == [("guest-ping", {})]


def test_the_real_policy_blocks(fake_guest: FakeGuest) -> None:
    fake_guest.block("guest-get-disks")
    with Client(fake_guest.address) as guest:
        with pytest.raises(CommandNotFound):
            guest.guest_get_disks()
        enabled = {command.name: command.enabled for command in guest.guest_info().supported_commands}
        assert [name for name in enabled if not enabled[name]] == ["guest-get-disks"]
    assert fake_guest.commands == ["guest-get-disks", "guest-info"], "what was refused has come, too"


def test_files_are_assigned_and_read_and_removed(fake_guest: FakeGuest) -> None:
    fake_guest.files["/a"] = b"abc"
    with Client(fake_guest.address) as guest, guest.open("/a", "a") as file:
        file.write(b"def")
    assert dict(fake_guest.files) == {"/a": b"abcdef"}
    del fake_guest.files["/a"]
    assert "/a" not in fake_guest.files


@pytest.mark.forks
def test_the_plugin_alone_imports_nothing_of_the_agent() -> None:
    code = "import qga.testing, sys; print([name for name in sys.modules if name.startswith('qga.agent')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    assert qga.testing.Fault("guest-ping").times == 1
    with pytest.raises(AttributeError):
        _ = qga.testing.Nonsuch  # type: ignore[attr-defined]


@pytest.mark.forks  # pyserial's ioctl of a pseudo-terminal
def test_a_serial_guest(fake_serial_guest: FakeGuest) -> None:
    with Client(fake_serial_guest.address) as guest:
        assert guest.guest_info().version == schema.INTERFACE_VERSION


def test_a_late_reply_is_dropped(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-get-time", delay=0.6)
    with Client(fake_guest.address) as guest:
        with pytest.raises(AgentTimeout, match="guest-get-time: the agent did not answer in time"):
            guest.guest_get_time(timeout=0.2)
        assert guest.guest_get_host_name().host_name == ""


def test_a_lost_reply_is_an_error_and_the_next_is_right(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-get-time", drop=True)
    with Client(fake_guest.address) as guest:
        with pytest.raises(AgentTimeout):
            guest.guest_get_time(timeout=0.2)
        assert guest.guest_fsfreeze_status() == "thawed"


def test_garbage_is_an_error_and_the_next_call_resynchronises(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-ping", garbage=b"Segmentation fault\n")
    with Client(fake_guest.address) as guest:
        with pytest.raises(OutOfStep, match="Segmentation fault"):
            guest.guest_ping()
        guest.guest_ping()


def test_a_connection_that_dies_is_an_error_and_is_made_again(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-ping", disconnect=True)
    with Client(fake_guest.address) as guest:
        with pytest.raises(AgentUnreachable, match="closed the connection"):
            guest.guest_ping()
        guest.guest_ping()


def test_shutdown_is_silent_or_an_error(fake_guest: FakeGuest) -> None:
    with Client(fake_guest.address) as guest:
        guest.guest_shutdown("reboot")
        fake_guest.fault("guest-shutdown", error="no way")
        with pytest.raises(CommandFailed, match="guest-shutdown: no way"):
            guest.guest_shutdown()
        fake_guest.fault("guest-shutdown", disconnect=True)
        guest.guest_shutdown()


class TestFreeze:
    def test_frozen_thaws_at_the_end(self, fake_guest: FakeGuest) -> None:
        fake_guest.filesystems = 3
        with Client(fake_guest.address) as guest:
            with guest.freeze() as freeze:
                assert fake_guest.frozen
                with pytest.raises(CommandNotFound):
                    guest.guest_get_disks()
            assert (freeze.frozen, freeze.thawed) == (3, 3)
            assert freeze.seconds is not None
            fake_guest.filesystems = 0
            assert guest.guest_fsfreeze_freeze() == 0
        assert not fake_guest.frozen

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_frozen_thaws_after_an_error(self, fake_guest: FakeGuest, error: type[BaseException]) -> None:
        with Client(fake_guest.address) as guest, pytest.raises(error), guest.freeze(mountpoints=["/"]):
            raise error
        assert not fake_guest.frozen

    @pytest.mark.parametrize("fault", [{"disconnect": True}, {"garbage": b"?\n"}])
    @pytest.mark.parametrize("command", ["guest-fsfreeze-thaw", "guest-fsfreeze-freeze"])
    def test_frozen_thaws_over_a_new_connection(
        self, fake_guest: FakeGuest, command: str, fault: dict[str, object]
    ) -> None:
        fake_guest.fault(command, **fault)
        with Client(fake_guest.address) as guest:
            if command == "guest-fsfreeze-thaw":
                with guest.freeze():
                    assert fake_guest.frozen
            else:
                with pytest.raises((AgentUnreachable, OutOfStep)), guest.freeze():
                    pytest.fail("entered")
        assert not fake_guest.frozen

    def test_frozen_thaws_when_the_freeze_timed_out(self, fake_guest: FakeGuest) -> None:
        fake_guest.fault("guest-fsfreeze-freeze", delay=0.6)
        with Client(fake_guest.address) as guest, pytest.raises(AgentTimeout), guest.freeze(timeout=0.2):
            pytest.fail("entered")
        assert fake_guest.commands[-1] == "guest-fsfreeze-thaw"
        assert not fake_guest.frozen

    def test_filesystems_frozen_by_another_client_stay_frozen(self, fake_guest: FakeGuest) -> None:
        fake_guest.frozen = True
        with Client(fake_guest.address) as guest, pytest.raises(CommandFailed, match="already"), guest.freeze():
            pytest.fail("entered")
        assert fake_guest.frozen

    def test_asyncio_client(self, fake_guest: FakeGuest) -> None:
        async def hold() -> None:
            async with AsyncClient(fake_guest.address) as guest:
                fake_guest.fault("guest-fsfreeze-thaw", disconnect=True)
                async with asyncio.timeout(20):
                    async with guest.freeze() as freeze:
                        assert freeze.frozen == 1
                        assert fake_guest.frozen
                assert not fake_guest.frozen
                task = asyncio.create_task(frozen_for_ever(guest))
                while not fake_guest.frozen:
                    await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        async def frozen_for_ever(guest: AsyncClient) -> None:
            async with guest.freeze():
                await asyncio.sleep(60)

        asyncio.run(hold())
        assert not fake_guest.frozen


def test_asyncio_client_survives_the_faults(fake_guest: FakeGuest) -> None:
    async def ask() -> None:
        async with AsyncClient(fake_guest.address) as guest:
            fake_guest.fault("guest-get-time", delay=0.6)
            with pytest.raises(AgentTimeout, match="guest-get-time"):
                await guest.guest_get_time(timeout=0.2)
            await guest.guest_ping()
            fake_guest.fault("guest-ping", disconnect=True)
            with pytest.raises(AgentUnreachable):
                await guest.guest_ping()
            fake_guest.fault("guest-ping", garbage=b"?\n")
            with pytest.raises(OutOfStep):
                await guest.guest_ping()
            await guest.guest_shutdown()
            await guest.guest_ping()

    asyncio.run(ask())
