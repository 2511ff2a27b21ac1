"""What goes wrong is one sentence, and with --debug a traceback before it; a fault of the tool is called one."""

from __future__ import annotations

import pytest

from qga.client.errors import MalformedReply
from qga.protocol.errors import CommandError
from qga.testing import FakeGuest
from qga.tool import cli, exits
from qga.tool.commands import agent
from tests.repository import REPOSITORY

WRONG = {
    "an unknown subcommand": (["frobnicate"], exits.USAGE),
    "wrong arguments": (["time", "set"], exits.USAGE),
    "the agent's error": (["call", "guest-file-close", "handle=1"], exits.FAILED),
    "a file of this machine": (["ssh-key", "add", "joe", "/no/such"], exits.HOST),
    "its own status": (["exec", "--env", "X", "--", "id"], exits.TOOL_FAILED),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_failure_has_a_traceback(name: str, fake_guest: FakeGuest, capsys: pytest.CaptureFixture[str]) -> None:
    words, status = WRONG[name]
    assert cli.main(["-c", fake_guest.address, *words]) == status
    sentence = capsys.readouterr().err
    assert sentence.startswith("qga: ")
    assert sentence.count("\n") == 1
    assert cli.main(["-c", fake_guest.address, "--debug", *words]) == status
    debugged = capsys.readouterr().err
    assert debugged.startswith("Traceback (most recent call last):\n")
    assert debugged.endswith(f"\n{sentence}")


def test_it_may_stand_behind_the_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-c", "/no/such", "ping", "--debug"]) == exits.UNREACHABLE
    assert "Traceback" in capsys.readouterr().err


def test_it_is_the_programs_behind_the_program(fake_guest: FakeGuest, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-c", fake_guest.address, "exec", "--env", "X", "id", "--debug"]) == exits.TOOL_FAILED
    assert "Traceback" not in capsys.readouterr().err


def test_a_traceback_does_not_steer_the_terminal(fake_guest: FakeGuest, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise CommandError("no\x1b[2J\r\x9b\u202e")

    fake_guest.answer("guest-info", refuse)
    assert cli.main(["-c", fake_guest.address, "--debug", "info"]) == exits.FAILED
    debugged = capsys.readouterr().err
    assert "\ufffd[2J" in debugged
    assert all(letter.isprintable() or letter == "\n" for letter in debugged)


@pytest.mark.parametrize("error", [KeyError("version"), TypeError("x"), IndexError("y"), UnicodeError("z")])
def test_a_fault_of_the_tool_is_not_the_guests(
    error: Exception, fake_guest: FakeGuest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(client: object, options: object) -> None:
        raise error

    monkeypatch.setattr(agent, "ping", fail)
    assert cli.main(["-c", fake_guest.address, "ping"]) == exits.FAULT
    said = capsys.readouterr().err
    assert said.startswith(f"qga: internal error, please report it: {type(error).__name__} in {__file__}:")
    assert said.endswith("(--debug shows the traceback)\n")


def test_a_wrong_reply_is_the_guests() -> None:
    assert exits.status(MalformedReply("guest-info", "expected an object, got 1")) == exits.OUT_OF_STEP


def test_names_of_hosts_that_cannot_be_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("\udcff", "x" * 64):
        assert cli.main(["-c", f"tcp:{name}:1", "ping"]) == exits.USAGE
        assert "is not a valid host name" in capsys.readouterr().err


def test_only_what_the_user_types_is_sent_raw() -> None:
    """Everything else goes by the client's typed methods: a reply that has another shape is the guest's error."""
    tool = REPOSITORY / "qga" / "tool"
    assert [path.name for path in tool.rglob("*.py") if "call_raw" in path.read_text()] == ["raw.py"]
