"""Subcommands: what each sends to the agent, what it prints, and how it reports what went wrong."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qga.protocol.errors import CommandError
from qga.testing import FakeGuest
from qga.tool import exits
from qga.tool.commands import progress
from tests.tool.test_tool import TOOL, qga
from tests.until import until

KEYS = ["ssh-ed25519 AAAA joe@here", "ssh-rsa BBBB ann"]
VCPUS = [
    {"logical-id": 0, "online": True, "can-offline": False},
    {"logical-id": 1, "online": False, "can-offline": True},
]


def tool(guest: FakeGuest, *words: str, status: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    done = qga(guest.address, *words, **options)
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) == bool(status)
    return done


class TestSchema:
    def test_needs_no_agent(self, tmp_path: Path) -> None:
        done = subprocess.run([*TOOL, "schema", "guest-set-vcpus"], capture_output=True, text=True, check=True)
        assert "vcpus" in done.stdout
        assert json.loads(qga(str(tmp_path), "schema", "--json").stdout)[:1]
        known = json.loads(qga(str(tmp_path), "schema", "--json", "guest-file-open").stdout)
        assert known["arguments"]["required"] == ["path"]
        assert known["arguments"]["properties"]["path"]["description"] == "Path of the file in the guest."

    def test_says_what_is_taken_and_what_is_returned(self) -> None:
        text = " ".join(qga("", "schema", "guest-get-disks").stdout.split())
        assert (
            "returns: list of GuestDiskInfo GuestDiskInfo: A disk or a partition. member type always meaning" in text
        )
        assert "temperature integer yes Temperature of the disk in kelvins." in text
        assert "where type is nvme: also the members of GuestNVMeSmart" in text
        text = " ".join(qga("", "schema", "guest-file-seek").stdout.split())
        assert "whence GuestFileWhence yes Where offset is counted from." in text
        assert "cur The current position of the handle." in text
        types = json.loads(qga("", "schema", "--json", "guest-file-seek").stdout)["types"]
        assert [next(iter(entry.values())) for entry in types] == ["GuestFileWhence", "QGASeek", "GuestFileSeek"]

    def test_help_and_completion_say_the_same(self) -> None:
        text = " ".join(qga("", "guest-file-seek", "--help").stdout.split())
        assert "--whence GUESTFILEWHENCE Where offset is counted from. Words: set, cur, end." in text
        assert "Bytes to move, backwards if negative." in qga("", "completion", "zsh").stdout

    def test_an_unknown_command(self) -> None:
        hint = "qga schema lists those that this tool knows"
        done = qga("", "schema", "guest-nothing")
        assert (done.returncode, done.stderr) == (exits.USAGE, f"qga: unknown command 'guest-nothing': {hint}\n")


class TestTrim:
    def test_table_and_json(self, fake_guest: FakeGuest) -> None:
        paths = [{"path": "/", "trimmed": 5 << 20}, {"path": "/srv", "error": "not supported"}]
        fake_guest.answer("guest-fstrim", {"paths": paths})
        assert json.loads(tool(fake_guest, "trim", "--json").stdout) == {"paths": paths}
        lines = tool(fake_guest, "trim").stdout.splitlines()
        assert [line.split(maxsplit=1) for line in lines] == [
            ["path", "trimmed"],
            ["/", "5.0 MiB"],
            ["/srv", "not supported"],
        ]


class TestPower:
    @pytest.mark.parametrize(("word", "mode"), [("shutdown", "powerdown"), ("reboot", "reboot"), ("halt", "halt")])
    def test_sends_and_returns(self, fake_guest: FakeGuest, word: str, mode: str) -> None:
        tool(fake_guest, word)
        assert ("guest-shutdown", {"mode": mode}) in fake_guest.requests

    @pytest.mark.slow
    def test_waits_until_nobody_answers(self, fake_guest: FakeGuest) -> None:
        words = [*TOOL, "-c", fake_guest.address, "shutdown", "--wait"]
        with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
            until(lambda: fake_guest.commands.count("guest-ping") >= 3 or process.poll() is not None)
            fake_guest.fault(delay=10, times=1000)  # as if it was gone
            assert process.wait(30) == 0

    def test_a_refusal_is_reported(self, fake_guest: FakeGuest) -> None:
        fake_guest.fault("guest-shutdown", error="not now")
        assert tool(fake_guest, "halt", status=exits.FAILED).stderr == "qga: guest-shutdown: not now\n"

    @pytest.mark.parametrize("how", ["ram", "disk", "hybrid"])
    def test_suspend(self, fake_guest: FakeGuest, how: str) -> None:
        tool(fake_guest, "suspend", how)
        assert f"guest-suspend-{how}" in fake_guest.commands


class TestTime:
    def test_get(self, fake_guest: FakeGuest) -> None:
        fake_guest.answer("guest-get-time", 10**9)
        assert tool(fake_guest, "time").stdout.startswith("1970-01-01 00:00:01 UTC, ")
        assert json.loads(tool(fake_guest, "time", "get", "--json").stdout)["nanoseconds"] == 10**9

    def test_set_now_is_this_machines(self, fake_guest: FakeGuest) -> None:
        before = time.time_ns()
        tool(fake_guest, "time", "set", "now")
        assert before <= fake_guest.requests[-1][1]["time"] <= time.time_ns()

    @pytest.mark.parametrize(
        ("text", "expected"), [("0", 0), ("1700000000.5", 17 * 10**17 + 5 * 10**8), ("1.000000001", 10**9 + 1)]
    )
    def test_set_to_the_nanosecond(self, fake_guest: FakeGuest, text: str, expected: int) -> None:
        tool(fake_guest, "time", "set", text)
        assert fake_guest.requests[-1] == ("guest-set-time", {"time": expected})

    @pytest.mark.parametrize(
        "words",
        [("set",), ("set", ""), ("set", "soon"), ("set", "nan"), ("set", "inf"), ("set", "1e300"), ("set", "-1"),
         ("set", "99999999999"), ("set", "9" * 5000), ("put",), ("get", "5"), ("sync", "5"), ("sync", "now")],
    )  # fmt: skip
    def test_what_is_not_a_time(self, fake_guest: FakeGuest, words: tuple[str, ...]) -> None:
        assert qga(fake_guest.address, "time", *words).returncode == exits.USAGE
        assert fake_guest.commands == []


class TestHotplug:
    def test_processors(self, fake_guest: FakeGuest) -> None:
        fake_guest.answer("guest-get-vcpus", VCPUS)
        lines = tool(fake_guest, "cpu").stdout.splitlines()
        assert [line.split() for line in lines[1:]] == [["0", "yes", "no"], ["1", "no", "yes"]]
        assert json.loads(tool(fake_guest, "cpu", "list", "--json").stdout) == VCPUS

    def test_goes_on_where_the_agent_stopped(self, fake_guest: FakeGuest) -> None:
        fake_guest.answer("guest-set-vcpus", lambda **_: 1)
        tool(fake_guest, "cpu", "online", "1", "2")
        asked = [arguments["vcpus"] for name, arguments in fake_guest.requests if name == "guest-set-vcpus"]
        second = {"logical-id": 2, "online": True}
        assert asked == [[{"logical-id": 1, "online": True}, second], [second]]

    def test_a_processor_that_stays(self, fake_guest: FakeGuest) -> None:
        fake_guest.fault("guest-set-vcpus", error="no vcpu 9")
        assert tool(fake_guest, "cpu", "offline", "9", status=exits.FAILED).stderr.endswith("no vcpu 9\n")

    def test_memory(self, fake_guest: FakeGuest) -> None:
        fake_guest.answer("guest-get-memory-blocks", [{"phys-index": 7, "online": True}])
        assert tool(fake_guest, "memory").stdout.splitlines()[1].split() == ["7", "yes", "?"]
        answers = [{"phys-index": 7, "response": "success"}, {"phys-index": 8, "response": "not-found"}]
        fake_guest.answer("guest-set-memory-blocks", answers)
        done = tool(fake_guest, "memory", "offline", "7", "8", status=exits.FAILED)
        assert done.stderr == "qga: guest-set-memory-blocks: blocks that were not changed: 8 (not-found)\n"
        assert fake_guest.requests[-1][1]["mem-blks"] == [{"phys-index": at, "online": False} for at in (7, 8)]

    @pytest.mark.parametrize("words", [("cpu", "offline"), ("memory", "online"), ("cpu", "list", "1")])
    def test_numbers_that_are_missing(self, fake_guest: FakeGuest, words: tuple[str, ...]) -> None:
        fake_guest.answer("guest-get-vcpus", VCPUS)
        assert "expected" in tool(fake_guest, *words, status=exits.USAGE).stderr


class TestPassword:
    def test_on_stdin(self, fake_guest: FakeGuest) -> None:
        tool(fake_guest, "passwd", "--crypted", "joe", input="$6$x\n")
        asked = {"username": "joe", "password": "JDYkeA==", "crypted": True}
        assert fake_guest.requests[-1] == ("guest-set-user-password", asked)

    def test_an_empty_one(self, fake_guest: FakeGuest) -> None:
        assert (
            tool(fake_guest, "passwd", "joe", input="", status=exits.USAGE).stderr
            == "qga: the password is empty: nothing was changed\n"
        )

    @pytest.mark.parametrize(("again", "status"), [(b"secret\n", 0), (b"secrets\n", exits.USAGE)])
    def test_asked_twice_on_a_terminal(self, fake_guest: FakeGuest, again: bytes, status: int) -> None:
        pid, leader = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [*TOOL, "-c", fake_guest.address, "passwd", "joe"])
        seen = expect(leader, b"joe: ")
        os.write(leader, b"secret\n")
        seen += expect(leader, b"Again: ")
        os.write(leader, again)
        seen += drained(leader)
        os.close(leader)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
        assert b"secret" not in seen
        assert ("guest-set-user-password" in fake_guest.commands) == (not status)


class TestSshKeys:
    def test_list(self, fake_guest: FakeGuest) -> None:
        fake_guest.answer("guest-ssh-get-authorized-keys", {"keys": [*KEYS, "evil\x1b[2J"]})
        assert tool(fake_guest, "ssh-key", "list", "joe").stdout == "\n".join([*KEYS, "evil�[2J", ""])
        assert json.loads(tool(fake_guest, "ssh-key", "list", "joe", "--json").stdout)[:2] == KEYS

    @pytest.mark.parametrize("what", ["add", "remove"])
    def test_keys_and_files_of_keys(self, fake_guest: FakeGuest, tmp_path: Path, what: str) -> None:
        file = tmp_path / "keys"
        file.write_text(f"# mine\n\n{KEYS[0]}\n")
        tool(fake_guest, "ssh-key", what, "joe", str(file), KEYS[1])
        assert fake_guest.requests[-1][0] == f"guest-ssh-{what}-authorized-keys"
        assert fake_guest.requests[-1][1]["keys"] == KEYS

    def test_a_list_takes_no_keys(self, fake_guest: FakeGuest) -> None:
        done = tool(fake_guest, "ssh-key", "list", "joe", "k", status=exits.USAGE)
        assert "expected no keys; ssh-key add and ssh-key remove take them" in done.stderr

    def test_no_key(self, fake_guest: FakeGuest, tmp_path: Path) -> None:
        tool(fake_guest, "ssh-key", "add", "joe", status=exits.USAGE)
        tool(fake_guest, "ssh-key", "add", "joe", str(tmp_path / "none"), status=exits.HOST)


@pytest.mark.parametrize(
    "words",
    [
        ("exec", "--env", "FOO", "--", "id"),  # env(1) would run FOO
        ("exec", "--env", "-i=", "--", "id"),
        ("exec", "--env", "=x", "--", "id"),
        ("snapshot", "--qmp", "/no/such", "--name", ""),
        ("snapshot", "--qmp", "/no/such", "--directory", ""),
        ("top", "--count", "0"),
        ("top", "--count", "-1"),
        ("cpu", "online"),
        ("memory", "offline"),
        ("suspend",),
        ("passwd",),
        ("tail", "-n", "x", "/f"),
        ("tail", "-n", "", "/f"),
        ("--timeout", "9" * 400, "ping"),
        ("freeze",),
        ("exec",),
    ],
)
def test_what_is_missing_or_empty_is_a_usage_error(fake_guest: FakeGuest, words: tuple[str, ...]) -> None:
    """And nothing is asked of the guest, which might take it for something else."""
    done = qga(fake_guest.address, *words)
    assert done.returncode in (exits.USAGE, exits.TOOL_FAILED), done
    assert set(fake_guest.commands) <= {"guest-ping"}


def test_an_empty_user_is_not_root(fake_guest: FakeGuest) -> None:
    pid, leader = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*TOOL, "-c", fake_guest.address, "shell", "--user", ""])
    seen = drained(leader)
    os.close(leader)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == exits.TOOL_FAILED
    assert b"expected the name of a user" in seen
    assert fake_guest.commands == []


def test_a_refused_password_is_not_repeated(fake_guest: FakeGuest) -> None:
    def refuse(**_: Any) -> None:
        raise CommandError("no user joe")

    fake_guest.answer("guest-set-user-password", refuse)
    done = tool(fake_guest, "passwd", "joe", input="secret\n", status=exits.FAILED)
    assert done.stderr == "qga: guest-set-user-password: no user joe\n"


def expect(leader: int, end: bytes) -> bytes:
    seen = b""
    while not seen.endswith(end):
        assert select.select([leader], [], [], 20)[0], seen
        seen += os.read(leader, 4096)
    return seen


def drained(leader: int) -> bytes:
    """What comes until the other side leaves."""
    seen = b""
    try:
        while data := os.read(leader, 4096):
            seen += data
    except OSError:  # EIO: it has left
        pass
    return seen


def test_a_list_that_is_cut_off(fake_guest: FakeGuest) -> None:
    fake_guest.programs["ls"] = lambda words, data: (0, b"a\nb\n", b"")
    cut = {"exited": True, "exitcode": 0, "out-data": "YQpiCg==", "out-truncated": True}
    fake_guest.answer("guest-exec-status", lambda pid: cut)
    done = qga(fake_guest.address, "ls", "/")
    assert (done.returncode, done.stdout) == (exits.FAILED, "a\nb\n")
    assert done.stderr == "qga: /: the list is too long, and its end is missing\n"


def test_a_bar_fits_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that wraps is not drawn over: a long name of the guest's filled the terminal."""
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress, "_REDRAW", 0.0)
    bar = progress.Bar("/x" * 2000)
    for done in (0, 1, 1 << 30, 1 << 40):
        bar(done, 1 << 40)
    bar.end()
    drawn = screen.getvalue().replace("\033[K", "").split("\r")
    assert 60 < max(map(len, drawn)) <= 80
