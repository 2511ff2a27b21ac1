"""A terminal in the guest, as a person uses it: the real tool on a real pty, real agents, both ways to make it."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from qga.client import AsyncClient, CommandNotFound
from qga.tool import exits
from qga.tool.remote import guest
from qga.tool.remote.guest.terminal import Screen
from qga.tool.remote.guest_tty import GuestTerminal
from qga.tool.remote.launch import Program
from qga.tool.remote.local_tty import Escape
from tests.client_agents import AGENTS, agent, listening
from tests.typing_at import NAP, SOON, TOOL, There, Typing, becomes, nothing_left, processes
from tests.until import unchanged, until

pytestmark = [pytest.mark.forks, pytest.mark.slow]
PROMPT = "here> "
PLAIN = ("--", "env", f"PS1={PROMPT}", "bash", "--norc", "--noprofile", "--noediting")  # no colours to look past


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with nothing_left(tmp_path, monkeypatch) as there:
        yield there


@pytest.fixture(params=AGENTS)
def address(request: pytest.FixtureRequest, tmp_path: Path, there: There) -> Iterator[str]:
    with listening(request.param, tmp_path) as path:
        yield path


@pytest.fixture(params=["python3", "script"])
def by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_session(address: str, by: str) -> None:
    with Typing(address, "shell", "--pty", by, *PLAIN, rows=33, columns=111) as at:
        at.see(PROMPT)
        assert not at.restored()
        at.type("stty size; echo $TERM; echo -n ü | wc -c; tty\r")
        at.see("33 111\r\nxterm-256color\r\n2\r\n/dev/pts/[0-9]+\r\n")
        at.see(PROMPT)
        at.type("sh -c \"trap 'stty size' WINCH; echo ar''med; while :; do sleep .1; done\"\r")
        at.see('done"\r\n')
        at.see("armed\r\n")
        at.resize(41, 121)
        at.see("41 121\r\n", SOON)
        at.type("\x03")
        at.see(PROMPT)
        at.type(f"sleep {NAP}\r")
        at.see(f"{NAP}\r\n")
        assert becomes(lambda: processes(f"sleep {NAP}"))
        start = time.monotonic()
        at.type("\x03")
        at.see(PROMPT)
        print(f"ctrl-C took {time.monotonic() - start:.3f} s")
        assert not processes(f"sleep {NAP}")
        at.type(f"sleep {NAP}\r")
        assert becomes(lambda: processes(f"sleep {NAP}"))
        at.type("\x1a")
        at.see("Stopped")
        at.type("kill -9 %1; wait 2>/dev/null; cat\r")
        at.see("cat\r\n")
        at.type("as it is: ä€😀\r")
        at.see("as it is: ä€😀\r\nas it is: ä€😀\r\n")
        at.type("\x04")
        at.see(PROMPT)
        at.type("exit 7\r")
        assert at.wait() == 7
        assert at.restored()


def test_the_login_shell_of_a_user(address: str, by: str) -> None:
    with Typing(address, "shell", "--pty", by) as at:
        at.see("[#$] ")
        at.type('cd; shopt login_shell; echo "$HOME=$PWD,$USER,$SHELL,$LANG,${PATH//[a-z]}"\r')
        at.see(r"login_shell\s+on\r\n/root=/root,root,/bin/bash,[^,]+,[/.-]+:")
        at.type("exit\r")
        assert at.wait() == 0
    with Typing(address, "shell", "--pty", by, "--user", "nobody", "--", "id", "-un") as at:
        at.see("nobody\r\n")
        assert at.wait() == 0
    with Typing(address, "shell", "--pty", by, "--user", "no-such") as at:
        at.see("no user no-such")
        assert at.wait() == 127


def test_bytes_both_ways(address: str, by: str, tmp_path: Path) -> None:
    """More than both sides hold at a time, and every byte that there is."""
    data = os.urandom(1 << 20)
    (tmp_path / "data").write_bytes(data)
    words = ("stty raw -echo; echo begin; head -c 40000 | md5sum; cat data; echo end", str(tmp_path))
    with Typing(address, "shell", "--pty", by, "--", "sh", "-c", f'cd "$1"; {words[0]}', "sh", words[1]) as at:
        at.see("begin\n")
        typed = data[:40000].replace(b"~", b"-")
        at.type(typed)
        at.see(hashlib.md5(typed).hexdigest() + "  -\n")
        begin = at._seen
        at.wait()
        assert at.shown[begin:] == data + b"end\n"


def test_exec_on_a_terminal(address: str, by: str) -> None:
    words = ("--", "sh", "-c", "test -t 0 && test -t 2 && echo $A; kill -9 $$")
    with Typing(address, "exec", "--tty", "--pty", by, "--env", "A=b c", *words) as at:
        at.see("b c\r\n")
        assert at.wait() == 128 + 9
    with Typing(address, "exec", "--tty", "--pty", by, "--timeout", "500ms", "--", "sleep", NAP) as at:
        assert at.wait() == exits.COMMAND_TIMED_OUT
    assert not processes(f"sleep {NAP}")
    with Typing(address, "exec", "--tty", "--pty", by, "--", "/no/such") as at:
        at.see("/no/such")
        assert at.wait() == 127


def test_killed_the_guest_cleans_up_by_itself(address: str, by: str) -> None:
    with Typing(address, "shell", "--pty", by, "--linger", "2s", *PLAIN) as at:
        at.see(PROMPT)
        at.type(f"sleep {NAP} & sleep {NAP}\r")
        assert becomes(lambda: len(processes(f"sleep {NAP}")) == 2)
        unchanged(lambda: processes(f"sleep {NAP}"), 4)  # longer than it lingers: the tool is heard of meanwhile
        at.process.kill()
        assert becomes(lambda: not processes(f"sleep {NAP}"), 2 + SOON)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_gives_the_terminal_back_and_ends_what_runs(address: str, by: str, number: int) -> None:
    with Typing(address, "shell", "--pty", by, *PLAIN) as at:
        at.see(PROMPT)
        at.type(f"trap : HUP; sleep {NAP} | cat\r")
        assert becomes(lambda: processes(f"sleep {NAP}"))
        at.process.send_signal(number)
        assert at.wait() == 128 + number
        assert at.restored()


@pytest.mark.parametrize("moment", ["at once", "connected", "prepared", "shown"])
def test_a_signal_while_it_begins(tmp_path: Path, by: str, there: There, moment: str) -> None:
    with listening("ours", tmp_path) as path, Typing(path, "shell", "--pty", by, *PLAIN) as at:
        if moment == "connected":
            until(lambda: any("socket:" in name for name in descriptors(at.process.pid)))
        elif moment == "prepared":
            until(there.directories)
        elif moment == "shown":
            at.see(PROMPT)
        at.process.send_signal(signal.SIGTERM)
        # Until Python is up, the signal itself ends it.
        assert at.wait() in (128 + signal.SIGTERM, *([-signal.SIGTERM] if moment == "at once" else []))
        assert at.restored()
        assert b"Traceback" not in at.shown


def descriptors(pid: int) -> list[str]:
    """What a process has open, as /proc shows it."""
    names = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(path))
    return names


def test_a_lost_connection_is_one_sentence(tmp_path: Path, by: str) -> None:
    with listening("ours", tmp_path) as path:
        at = Typing(path, "shell", "--pty", by, "--linger", "1s", *PLAIN)
        at.see(PROMPT)
    with at:
        assert at.wait() == exits.TOOL_FAILED
        assert at.restored()
        said = at.shown.split(PROMPT.encode())[-1].decode().strip()
        why = "(the other side closed the connection|nobody listens there)"
        assert re.fullmatch(rf"qga: [^\n]+{why}[^\n]*; the guest ends the program within 1 s", said)


def test_a_hung_guest_can_be_left(tmp_path: Path) -> None:
    with listening("ours", tmp_path) as path, Typing(path, "shell", "--linger", "2s", *PLAIN) as at:
        at.see(PROMPT)
        (pid,) = (int(line) for line in subprocess.check_output(["pgrep", "-f", f"qga .*{path}"]).split())
        os.kill(pid, signal.SIGSTOP)
        try:
            at.type("\r~?")
            at.see("leave, and end what runs in the guest")
            at.type("~.")
            start = time.monotonic()
            assert at.wait() == exits.TOOL_FAILED
            assert time.monotonic() - start < SOON
            assert at.restored()
            assert b"does not answer" in at.shown
        finally:
            os.kill(pid, signal.SIGCONT)


def held(directory: Path) -> int:
    """Bytes of its files, while they come and go."""
    total = 0
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_who_does_not_read_is_not_written_for(address: str, by: str, there: There) -> None:
    with Typing(address, "shell", "--pty", by, "--", "sh", "-c", "echo begin; yes") as at:
        at.see("begin")
        at.process.send_signal(signal.SIGSTOP)
        (directory,) = there.directories()
        unchanged(lambda: held(directory), 1)
        assert held(directory) < 200_000
        at.process.send_signal(signal.SIGCONT)
        for _ in range(200):
            at.read(1)
        assert held(directory) < 200_000
        start = time.monotonic()
        at.type("\x03")
        assert at.wait() == 128 + signal.SIGINT
        print(f"ctrl-C of yes took {time.monotonic() - start:.3f} s")


def test_a_guest_with_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sh", "mktemp", "mkfifo", "rm", "cat"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    path = str(tmp_path / "agent.sock")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        at_agent = agent("ours", tmp_path, path=path)
        at_agent.__enter__()
    with Typing(path, "shell") as at:
        assert at.wait() == exits.TOOL_FAILED
        assert at.shown == b"qga: the guest has no python3 and no script: a terminal needs one of them\r\n"
    at_agent.__exit__(None, None, None)


def test_without_a_terminal_here() -> None:
    done = subprocess.run([*TOOL, "-c", "/no", "shell"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (exits.TOOL_FAILED, 1)


def test_escapes() -> None:
    left: list[int] = []
    shown: list[bytes] = []
    escape = Escape(lambda: left.append(1), shown.append)
    typed = [b"~", b"~a\r~b~.\n~", b"?x~.", b"\r~~.\r~.rest"]
    assert [escape.filter(data) for data in typed] == [b"", b"~a\r~b~.\n", b"x~.", b"\r~.\r"]
    assert (len(left), len(shown)) == (1, 1)


class Freezing:
    """A client that is refused some of its next requests, by their numbers, as while filesystems are frozen."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.refused: Sequence[int] = ()
        self.number = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not name.startswith("guest_"):
            return method

        async def ask(*words: Any, **options: Any) -> Any:
            self.number += 1
            if self.number - 1 in self.refused:
                raise CommandNotFound("guest-x", "Command guest-x has been disabled")
            return await method(*words, **options)

        return ask


def test_a_freeze_by_another_client_is_waited_for(address: str) -> None:
    """No freeze of this machine: the refusals are made up, of all requests or of some."""

    async def session() -> bytes:
        async with AsyncClient(address) as client:
            freezing = Freezing(client)
            terminal = GuestTerminal(cast(AsyncClient, freezing), 60)
            await terminal.begin(Program(["cat"], "", {}, ["python3"], 60, (24, 80)))
            shown, status = b"", None
            try:
                for refused in (range(0), range(5), range(0), range(1, 2), range(1), range(0)):
                    freezing.number, freezing.refused = 0, refused
                    terminal.type(b"once\n")
                    shown += (await terminal.exchange())[0]
                freezing.refused = ()
                terminal.type(b"\x04")
                while status is None:
                    data, status = await terminal.exchange()
                    shown += data
                    await asyncio.sleep(0.01)
            finally:
                await terminal.end()
            assert status == 0
            return shown

    assert asyncio.run(session()).count(b"once\r\n") == 12  # six lines, each echoed and given back


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.0").symlink_to("/dev/full")
    screen = Screen(str(tmp_path), 4)
    screen.write(b"abcdef")
    assert (screen.rest, screen.complete) == (b"abcdef", False)
    (tmp_path / "out.0").unlink()
    screen._file = os.open(tmp_path / "out.0", os.O_WRONLY | os.O_CREAT)
    screen.write(b"ghij")
    assert [(tmp_path / f"out.{n}").read_bytes() for n in (0, 1)] == [b"abcd", b"efgh"]
    assert (screen.rest, (tmp_path / "out.2").exists()) == (b"ij", False)
    screen.free(0)
    screen.write()
    assert ((tmp_path / "out.2").read_bytes(), screen.complete) == (b"ij", True)


def test_the_guest_may_be_old() -> None:
    ast.parse(guest.text("terminal.py"), feature_version=(3, 6))
    assert subprocess.run(["sh", "-n"], input=guest.text("terminal.sh")).returncode == 0
