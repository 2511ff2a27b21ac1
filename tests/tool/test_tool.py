"""The tool as it is typed: a process against both agents; a fake guest for what must not happen here."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qga.testing import FakeGuest
from qga.tool import exits, parser, units
from qga.tool.commands import status
from tests.client_agents import AGENTS_AND_BUSYBOX, listening
from tests.typing_at import nothing_left
from tests.until import until

pytestmark = [pytest.mark.forks, pytest.mark.slow]
TOOL = [sys.executable, "-m", "qga.tool"]


def qga(address: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "text": True, "timeout": 300, "stdin": subprocess.DEVNULL, **options}
    if "input" in options:
        del options["stdin"]
    done: subprocess.CompletedProcess[str] = subprocess.run([*TOOL, "-c", address, *words], **options)
    assert "Traceback" not in (done.stderr or "")
    return done


@pytest.fixture(params=AGENTS_AND_BUSYBOX)
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with nothing_left(tmp_path, monkeypatch), listening(request.param, tmp_path) as path:
        yield path


def test_ask(address: str) -> None:
    assert json.loads(qga(address, "info", "--json").stdout)["version"]
    assert "guest-ping" in qga(address, "info").stdout
    assert json.loads(qga(address, "call", "guest-sync", "id=7").stdout) == 7
    assert json.loads(qga(address, "guest-sync", "--id", "7").stdout) == 7
    found = json.loads(qga(address, "status", "--json").stdout)
    assert found["memory"]["total"] > found["memory"]["available"] > 0
    assert "memory     [" in qga(address, "status").stdout


def test_exec(address: str) -> None:
    done = qga(address, "exec", "--env", "A=b c", "--", "sh", "-c", 'echo "$A"; echo bad >&2; exit 7')
    assert (done.returncode, done.stdout, done.stderr) == (7, "b c\n", "bad\n")
    assert qga(address, "exec", "--stdin", "--", "cat", input="a\nb").stdout == "a\nb"
    assert qga(address, "exec", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert qga(address, "exec", "--", "no-such-program").returncode == 127
    assert qga(address, "exec", "--timeout", "300ms", "--", "sleep", "50").returncode == exits.COMMAND_TIMED_OUT


def test_output_comes_while_the_program_runs_and_ctrl_c_leaves_nothing(address: str) -> None:
    words = [*TOOL, "-c", address, "exec", "--", "sh", "-c", "echo first; exec sleep 61.5"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert subprocess.run(["pgrep", "-f", "^sleep 61[.]5$"], capture_output=True).stdout == b""


def test_copies(address: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "in ner").mkdir(parents=True)
    (tree / "in ner" / "a\nb").write_bytes(os.urandom(300_000))
    (tree / "empty").touch(0o640)
    assert qga(address, "cp", str(tree), f":{tmp_path}/there").returncode == exits.USAGE
    assert qga(address, "cp", "-r", str(tree), f":{tmp_path}/there").returncode == 0
    assert qga(address, "cp", "-r", f":{tmp_path}/there", str(tmp_path / "back")).returncode == 0
    assert subprocess.run(["diff", "-r", tree, tmp_path / "back"]).returncode == 0
    assert (tmp_path / "back" / "empty").stat().st_mode & 0o777 == 0o640
    outcomes = json.loads(qga(address, "cp", "--json", f":{tree}/empty", str(tmp_path)).stdout)
    assert outcomes[0]["verified"]
    assert outcomes[0]["target"] == str(tmp_path / "empty")


def facts(tree: Path, unit: int = 1) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and content or target of everything in it. ``unit``: nanoseconds that times are rounded down to."""
    found = {}
    for path in [tree, *tree.rglob("*")]:
        about = path.lstat()
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
        name = str(path.relative_to(tree))
        found[name] = (0, 0, content) if path.is_symlink() else (about.st_mode, about.st_mtime_ns // unit, content)
    return found


def test_trees(address: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    unit = 10**9 if "busybox" in request.node.name else 1  # its touch sets whole seconds
    tree = tmp_path / "-tree"
    (tree / "ä" / "deep er").mkdir(parents=True)
    (tree / "empty").mkdir(0o700)
    (tree / "ä" / "deep er" / "-a\nb").write_bytes(os.urandom(1000))
    for name, leads in (("link", "ä"), ("dangling", "../no/such\n"), ("ä/up", "../empty")):
        (tree / name).symlink_to(leads)
    os.utime(tree / "ä", ns=(10**18, 10**18 + 123_456_789))
    (tree / "ä").chmod(0o555)
    there, back = tmp_path / "there", tmp_path / "back"
    try:
        expected = facts(tree, unit)
        there.mkdir()
        for _ in range(2):  # the second time over what is there
            assert qga(address, "cp", "-r", str(tree), f":{there}").returncode == 0
            assert facts(there / "-tree", unit) == expected
        assert qga(address, "cp", "-r", f":{tree}", str(back)).returncode == 0
        assert facts(back, unit) == expected
        os.mkfifo(tree / "pipe")
        done = qga(address, "cp", "-r", f":{tree}", str(tmp_path / "rest"))
        assert (done.returncode, done.stderr.count("left out")) == (exits.FAILED, 1)
    finally:
        for path in tmp_path.rglob("ä"):
            path.chmod(0o755)


def test_a_tree_does_not_leave_its_target(address: str, tmp_path: Path) -> None:
    tree, target, elsewhere = tmp_path / "tree", tmp_path / "target", tmp_path / "elsewhere"
    (tree / "in").mkdir(parents=True)
    (tree / "in" / "file").write_bytes(b"new")
    elsewhere.mkdir()
    (target / "tree").mkdir(parents=True)
    (target / "tree" / "in").symlink_to(elsewhere)
    done = qga(address, "cp", "-r", f":{tree}", str(target))
    assert (done.returncode, "is a symbolic link" in done.stderr) == (exits.FAILED, True)
    assert list(elsewhere.iterdir()) == []


def test_a_typed_link_to_a_directory_is_what_it_leads_to(address: str, tmp_path: Path) -> None:
    """On either side; links within are copied as links."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("real")
    for number, pair in enumerate(((f":{tmp_path}/link", f"{tmp_path}/0"), (f"{tmp_path}/link", f":{tmp_path}/1"))):
        assert qga(address, "cp", "-r", *pair).returncode == 0
        assert not (tmp_path / str(number)).is_symlink()
        assert (tmp_path / str(number) / "a").read_bytes() == b"a"


@pytest.mark.parametrize("when", [-12_250_000_000, -1, 0, 1_600_000_000_000_000_001])
def test_times_before_and_after_1970(address: str, tmp_path: Path, when: int, request: pytest.FixtureRequest) -> None:
    whole = "busybox" in request.node.name  # its touch sets whole seconds
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").touch()
    for path in (tree / "a", tree):
        os.utime(path, ns=(when, when))
    assert qga(address, "cp", "-r", str(tree), f":{tmp_path}/there").returncode == 0
    assert qga(address, "cp", "-r", f":{tmp_path}/there", str(tmp_path / "back")).returncode == 0
    for name in ("there", "there/a", "back", "back/a"):
        off = abs((tmp_path / name).stat().st_mtime_ns - when)
        assert off < 10**9 if whole else off == 0


def test_look_at_files(address: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{n}\n" for n in range(100)))
    assert qga(address, "cat", f":{path}").stdout == path.read_text()
    assert qga(address, "tail", "-n", "2", str(path)).stdout == "98\n99\n"
    assert "log\n" in qga(address, "ls", str(tmp_path)).stdout
    with subprocess.Popen([*TOOL, "-c", address, "tail", "-f", "-n1", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"99\n"
        with path.open("a") as file:
            file.write("more\n")
        assert process.stdout.readline() == b"more\n"
        process.terminate()
        assert process.wait(20) == 143


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["call", "guest-no-such"], exits.NOT_FOUND),
        (["guest-shutdown"], exits.NOT_FOUND),
        (["cat", ":/no/such"], exits.FAILED),
        (["ls", "/no/such"], exits.FAILED),
        (["cp", ":/no/such", "/tmp/never"], exits.FAILED),
        (["cp", "/no/such", ":/tmp/never"], exits.HOST),
        (["cp", ":/etc/hostname", "/proc/never"], exits.HOST),
        (["cp", "a", "b"], exits.USAGE),
        (["call", "guest-sync", "id=x"], exits.USAGE),
        (["freeze", "--", "true"], exits.TOOL_FAILED),
    ],
)
def test_what_goes_wrong_is_one_sentence(address: str, words: list[str], expected: int) -> None:
    done = qga(address, *words)
    assert done.returncode == expected, done.stderr
    assert re.fullmatch(r"qga: [^\n]+\n", done.stderr)


@pytest.mark.parametrize(
    ("where", "expected"),
    [("/no/such", exits.UNREACHABLE), ("pigeon:7", exits.USAGE), ("tcp:127.0.0.1:1", exits.UNREACHABLE)],
)
def test_wrong_addresses(where: str, expected: int) -> None:
    done = qga(where, "ping")
    assert (done.returncode, done.stderr.count("\n")) == (expected, 1)


def test_a_freeze_is_thawed_whatever_happens(fake_guest: FakeGuest) -> None:
    def held(*words: str, **options: Any) -> int:
        done = qga(fake_guest.address, "freeze", *words, **options)
        assert not fake_guest.frozen
        assert fake_guest.commands[-1] == "guest-fsfreeze-thaw"
        return done.returncode

    assert held("--", "sh", "-c", "exit 5") == 5
    assert held("--", "no-such-program") == exits.TOOL_FAILED
    assert held("--timeout", "300ms", "--", "sleep", "50") == exits.COMMAND_TIMED_OUT
    fake_guest.fault("guest-fsfreeze-thaw", disconnect=True)
    assert held("--", "true") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_thaws(fake_guest: FakeGuest, number: int) -> None:
    words = [*TOOL, "-c", fake_guest.address, "freeze", "--", "sh", "-c", "echo in; exec sleep 50"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        assert fake_guest.frozen
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    assert not fake_guest.frozen


def test_commands_that_only_a_fake_guest_may_get(fake_guest: FakeGuest) -> None:
    for command in ("guest-shutdown", "guest-suspend-ram", "guest-set-user-password", "guest-set-time"):
        fake_guest.answer(command, lambda **_: {})
    for words, expected in (
        (["reboot"], ("guest-shutdown", {"mode": "reboot"})),
        (["suspend", "ram"], ("guest-suspend-ram", {})),
        (["time", "set", "12"], ("guest-set-time", {"time": 12 * 10**9})),
        (["time", "sync"], ("guest-set-time", {})),
    ):
        done = qga(fake_guest.address, *words)
        assert done.returncode == 0, done.stderr
        assert expected in fake_guest.requests
    assert qga(fake_guest.address, "passwd", "joe", input="secret\n").returncode == 0
    assert fake_guest.requests[-1][1] == {"username": "joe", "password": "c2VjcmV0", "crypted": False}


def test_on_a_terminal(fake_guest: FakeGuest) -> None:
    fake_guest.answer("guest-get-host-name", {"host-name": "evil\x1b[2J"})
    leader, follower = pty.openpty()
    done = qga(fake_guest.address, "status", stdout=follower, stderr=follower, capture_output=False)
    os.close(follower)
    shown = os.read(leader, 100_000)
    os.close(leader)
    assert done.returncode == 0
    assert b"evil\xef\xbf\xbd[2J" in shown


def test_a_ping_loads_little(fake_guest: FakeGuest) -> None:
    """How long that takes is a row of ``make bench-client``."""
    code = "import sys; from qga.tool.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "-c", fake_guest.address, "ping"], capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert "qga.client.client" in loaded
    assert not loaded & {"asyncio", "jsonschema", "qemu", "rich", "serial", "shtab", "subprocess", "tempfile"}


def test_impossible_replies_and_names(fake_guest: FakeGuest) -> None:
    fake_guest.answer("guest-get-vcpus", lambda **_: [{"else": 1}])
    assert qga(fake_guest.address, "cpu").returncode == exits.OUT_OF_STEP
    assert qga(fake_guest.address, "cat", os.fsdecode(b":\xff")).returncode == exits.FAILED


def test_a_connection_lost_in_a_copy_leaves_the_old_file(fake_guest: FakeGuest, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    fake_guest.files["/new"] = bytearray(b"n" * 300_000)
    fake_guest.fault("guest-file-read", disconnect=True, times=50)
    done = qga(fake_guest.address, "cp", ":/new", str(tmp_path / "old"))
    assert (done.returncode, done.stderr.count("\n")) == (exits.UNREACHABLE, 1)
    assert (tmp_path / "old").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.parametrize("up", [True, False])
def test_ctrl_c_in_a_copy_leaves_the_old_file(address: str, tmp_path: Path, up: bool) -> None:
    source, there = tmp_path / "big", tmp_path / "there"
    there.mkdir()
    (there / "big").write_bytes(b"old")
    with source.open("wb") as file:
        file.truncate(1 << 30)
    pair = (str(source), f":{there}") if up else (f":{source}", str(there))
    with subprocess.Popen([*TOOL, "-c", address, "cp", *pair], stderr=subprocess.PIPE) as process:
        until(lambda: len(os.listdir(there)) > 1 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert (there / "big").read_bytes() == b"old"
    assert os.listdir(there) == ["big"]


@pytest.mark.parametrize("up", [True, False])
def test_a_copy_that_broke_is_resumed(address: str, tmp_path: Path, up: bool) -> None:
    source, there = tmp_path / "big", tmp_path / "there"
    there.mkdir()
    with source.open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(256 << 20)
    pair = (str(source), f":{there}") if up else (f":{source}", str(there))
    words = [*TOOL, "-c", address, "cp", "--resume", "--json", *pair]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        until(lambda: sum(path.stat().st_size for path in there.iterdir()) >= 4 << 20 or process.poll() is not None)
        process.send_signal(signal.SIGINT)  # no SIGKILL: QEMU's 7.2 ends when its socket breaks in a reply
        assert process.wait(30) == 130
    assert "big" not in os.listdir(there)
    again = qga(address, "--wait", "10", *words[-5:])
    assert again.returncode == 0, again.stderr
    (done,) = json.loads(again.stdout)
    assert done["resumed"] >= 2 << 20
    assert done["verified"]
    assert (there / "big").read_bytes() == source.read_bytes()
    assert os.listdir(there) == ["big"]


def test_a_bar_shows_the_progress_of_a_copy(fake_guest: FakeGuest, tmp_path: Path) -> None:
    fake_guest.files["/there"] = bytearray(8 << 20)
    leader, follower = pty.openpty()
    done = qga(fake_guest.address, "cp", ":/there", str(tmp_path / "here"), stderr=follower, capture_output=False)
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert done.returncode == 0
    assert re.search(r"\r/there \[#{20}\] 100%  [\d.]+ [KMG]iB/s  0s left", shown)
    assert "\r\033[K" in shown, "the bar is wiped away"


def test_an_unknown_subcommand(fake_guest: FakeGuest) -> None:
    for word, hint in (("staus", " (did you mean 'status'?)"), ("frobnicate", ""), ("guest-nothing", "")):
        done = qga(fake_guest.address, word)
        assert done.stderr == f"qga: unknown subcommand {word!r}{hint}: qga --help lists them\n"
        assert done.returncode == exits.USAGE


def test_a_program_is_typed_with_or_without_dashes(address: str) -> None:
    for words in (["printf", "%s.", "-a", "--", "--json"], ["--", "printf", "%s.", "-a", "--", "--json"]):
        assert qga(address, "exec", "--timeout", "20", *words).stdout == "-a.--.--json."
    done = qga(address, "exec", "--timeout", "20")
    expected = "qga: expected a command to run: qga exec -- CMD [ARGUMENT...]\n"
    assert (done.returncode, done.stderr) == (exits.USAGE, expected)


def test_completion(tmp_path: Path) -> None:
    done = qga("/no/such", "completion", "bash")
    assert done.returncode == 0, done.stderr
    assert "guest-get-fsinfo" in done.stdout
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True).returncode == 0
    (tmp_path / "shtab.py").write_text("raise ImportError")
    without = qga("/no/such", "completion", "bash", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (without.returncode, without.stderr.count("\n")) == (exits.MISSING, 1)


def test_words() -> None:
    assert [units.duration(text) for text in ("2m", "500ms", "7", "1.5h")] == [120, 0.5, 7, 5400]
    assert (units.size(1536), units.span(93784)) == ("1.5 KiB", "1d 2h 3m")
    assert status.bar(1, 2, 4) == "[##..]"
    assert "guest-exec" in parser.parser(None).format_help()


def test_the_readme_has_the_exit_statuses() -> None:
    assert exits.markdown() in Path("README.md").read_text()


CLOSED = [
    ('"$@" ping >&-', 0, ""),
    ('"$@" info >&-', exits.HOST, "qga: Bad file descriptor\n"),
    ('"$@" cp :/etc/passwd - >&-', exits.HOST, "qga: Bad file descriptor\n"),
    ('"$@" cp - :/tmp/qga-no-such <&-', exits.HOST, "qga: Bad file descriptor\n"),
    ('"$@" exec --stdin -- cat <&-', exits.TOOL_FAILED, "qga: Bad file descriptor\n"),
    ('"$@" exec -- sh -c "echo out; echo err >&2" <&- >&- 2>&-', exits.TOOL_FAILED, ""),
    ('"$@" info >/dev/full', exits.HOST, "qga: No space left on device\n"),
    ('"$@" cat /no/such 2>&-', exits.FAILED, ""),
]


@pytest.mark.parametrize(("words", "status", "said"), CLOSED)
def test_a_standard_stream_that_takes_or_gives_nothing(address: str, words: str, status: int, said: str) -> None:
    """The first file that is opened had its number: what came from stdin was what the agent sent, for ever."""
    done = subprocess.run(["sh", "-c", words, "sh", *TOOL, "-c", address], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)
    assert not Path("/tmp/qga-no-such").exists()
