"""The program as its callers see it: what it prints where, and its exit status.

The agent itself is a stand-in here: what it does at its start is chosen by $AGENT.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qga import __version__
from qga.agent import cli
from qga.agent.config import cmdline
from qga.protocol.schema import INTERFACE_VERSION

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 30.0  # seconds; a failure must not hang

# Runs qga.agent.cli.main with a stand-in for qga.agent.app: AGENT is the body of its run().
PRELUDE = """
import logging, os, sys, types

class ChannelError(Exception):
    __module__ = "qga.agent.channel"

class App:
    def __init__(self, loop, config, schema, freeze, rules, reread, called):
        self.config, self.schema, self.freeze = config, schema, freeze
    def run(self, ready):
        names = {**globals(), **vars(self), "ready": ready}
        exec(os.environ["AGENT"], names)
        return names.get("status", 0)

sys.modules["qga.agent.app"] = types.SimpleNamespace(App=App)
from qga.agent.cli import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGA_CONF", "/dev/null")


def qemu_ga(*argv: str, agent: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE, *argv],
        env={**os.environ, "AGENT": agent, **environ},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr with which a start fails."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"qemu-ga: .+\n", done.stderr), done.stderr
    return done.stderr.removeprefix("qemu-ga: ").rstrip("\n")


def test_the_emulated_version_comes_first_and_the_own_version_below(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    out = capfd.readouterr().out
    assert out == f"QEMU Guest Agent {INTERFACE_VERSION}\nqga {__version__}\n"
    # Clients parse three numbers below 256.
    version = re.match(r"QEMU Guest Agent (\d+)\.(\d+)\.(\d+)\n", out)
    assert version is not None
    assert all(int(number) < 256 for number in version.groups())


def test_help_goes_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-h"]) == 0
    captured = capfd.readouterr()
    assert captured.out == cmdline.usage()
    assert captured.err == ""
    assert "--retry-path" in captured.out


def test_the_dump_goes_to_stdout_whatever_the_names_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.main(["-D", "-p", os.fsdecode(b"/\xe4")]) == 0
    captured = capfdbinary.readouterr()
    assert captured.out.startswith(b"[general]\ndaemon=false\n")
    assert b"\npath=/\xe4\n" in captured.out
    assert captured.err == b""


def test_help_for_a_list_lists_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-b", "help"]) == 0
    names = capfd.readouterr().out.splitlines()
    assert "guest-ping" in names
    assert all(name.startswith("guest-") for name in names)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--bogus"], "option --bogus not recognized; try 'qemu-ga --help'"),
        (["-m", "unix-listen"], "must specify a path for this channel"),
        (["-c", "/nonexistent"], "error loading configuration from path: /nonexistent, No such file or directory"),
        (
            ["-b", "guest-pong"],
            "block-rpcs: 'guest-pong' is not a command (did you mean 'guest-ping'?), '-b help' lists them",
        ),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(
    argv: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 1
    assert capfd.readouterr() == ("", f"qemu-ga: {words}\n")


def test_dumping_the_configuration_of_a_daemon_leaves_its_pid_file_alone(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    pidfile.write_text("1\n")
    assert cli.main(["-D", "-d", "-f", str(pidfile)]) == 0
    assert cli.main(["-d", "-f", str(pidfile), "-m", "bogus"]) == 1
    assert pidfile.read_text() == "1\n"


@pytest.mark.forks
class TestProcesses:
    def test_a_reader_that_leaves_early_gets_no_complaint(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "qga", "-b", "help"],
                stdout=writing,
                stderr=subprocess.PIPE,
                timeout=DEADLINE,
                check=False,
            )
        finally:
            os.close(writing)
        assert (done.returncode, done.stderr) == (1, b"")

    def test_the_exit_status_is_that_of_the_agent(self) -> None:
        assert qemu_ga(agent="ready(); status = 0").returncode == 0
        assert qemu_ga(agent="ready(); status = 1").returncode == 1

    def test_the_agent_gets_configuration_and_schema(self) -> None:
        done = qemu_ga("-p", "/x", agent="print(config.path, 'guest-ping' in schema.commands)")
        assert (done.returncode, done.stdout, done.stderr) == (0, "/x True\n", "")

    @pytest.mark.parametrize("options", [[], ["-d"]])
    @pytest.mark.parametrize(
        ("agent", "words"),
        [
            ("raise ChannelError('error opening channel')", "error opening channel"),
            ("raise ValueError('two\\nlines')", "ValueError: two lines"),
            ("open('/nonexistent')", "No such file or directory: '/nonexistent'"),
        ],
    )
    def test_an_agent_that_fails_to_start_says_why_in_one_line(
        self, tmp_path: Path, options: list[str], agent: str, words: str
    ) -> None:
        pidfile = tmp_path / "pid"
        assert failure(qemu_ga(*options, "-f", str(pidfile), agent=agent)) == words
        assert not pidfile.exists()

    def test_the_reason_is_in_the_log_file_too(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        qemu_ga("-l", str(log), agent="raise ChannelError('no port')")
        assert re.fullmatch(r"\d+\.\d{6}: critical: no port\n", log.read_text())

    def test_debug_shows_the_traceback(self) -> None:
        done = qemu_ga("--debug", agent="raise ChannelError('no port')")
        assert "  qga.agent.channel.ChannelError: no port\n" in done.stderr
        assert done.stderr.endswith("\nqemu-ga: no port\n")

    def test_a_log_file_that_cannot_be_opened_stops_the_start(self, tmp_path: Path) -> None:
        for options in ([], ["-d", "-f", str(tmp_path / "pid")]):
            done = qemu_ga("-l", "/nonexistent/log", *options, agent="ready()")
            assert failure(done) == "cannot open log file '/nonexistent/log': No such file or directory"

    def test_an_ignored_key_is_a_warning_in_the_log(self, tmp_path: Path) -> None:
        conf = tmp_path / "conf"
        conf.write_text("[general]\nicon=1\n")
        done = qemu_ga("-c", str(conf), agent="ready()")
        assert done.returncode == 0
        assert done.stderr.endswith(f": warning: {conf}, line 2: unknown key 'icon' ignored\n")

    def test_without_d_there_is_no_pid_file(self, tmp_path: Path) -> None:
        pidfile = tmp_path / "pid"
        done = qemu_ga("-f", str(pidfile), agent="print(os.path.exists(config.pidfile))")
        assert done.stdout == "False\n"

    def test_a_daemon_finds_the_files_that_were_named_from_its_old_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        agent = "logging.getLogger('qga').error('in %s', os.getcwd()); ready(); open(config.path, 'w').close()"
        pid = "import time\nwhile os.path.exists(config.pidfile + '.wait'): time.sleep(0.01)"
        (tmp_path / "pid.wait").touch()
        done = qemu_ga("-d", "-f", "pid", "-l", "log", "-p", "made", agent=f"{agent}\n{pid}")
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "log").read_text().endswith("error: in /\n")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    def test_a_daemon_keeps_the_socket_it_was_activated_with(self, tmp_path: Path) -> None:
        agent = (
            "import socket; sock = socket.socket(fileno=3)\n"
            "assert os.environ['LISTEN_PID'] == str(os.getpid()), 'other pid'\n"
            "assert sock.getsockname() == os.environ['ADDRESS'], 'other socket'\n"
            "ready()"
        )
        address = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            script = 'export LISTEN_PID=$$; exec "$@" 3<&$FD'  # only the process itself can know its LISTEN_PID
            done = subprocess.run(
                ["bash", "-c", script, "sh", sys.executable, "-c", PRELUDE, "-d", "-f", str(tmp_path / "pid")],
                env={
                    **os.environ,
                    "AGENT": agent,
                    "LISTEN_FDS": "1",
                    "ADDRESS": address,
                    "FD": str(listener.fileno()),
                },
                pass_fds=[listener.fileno()],
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        assert (done.returncode, done.stderr) == (0, "")

    def test_started_frozen_nothing_is_written_before_the_thaw(self, tmp_path: Path) -> None:
        (tmp_path / "qga.state.isfrozen").touch()
        agent = (
            "logging.getLogger('qga').error('early'); before = os.listdir(config.statedir)\n"
            "freeze.thaw(); thawed = os.listdir(config.statedir)\n"
            "logging.getLogger('qga').error('%s, %s', before, sorted(thawed))\n"
            "freeze.freeze(); freeze.thaw(); ready()"
        )
        log, pidfile = tmp_path / "log", tmp_path / "pid"
        done = qemu_ga("-d", "-t", str(tmp_path), "-l", str(log), "-f", str(pidfile), agent=agent)
        assert (done.returncode, done.stderr) == (0, "")
        _, *lines = log.read_text().splitlines()
        assert [line.partition(": ")[2] for line in lines[:2]] == [
            "error: early",
            "error: ['qga.state.isfrozen'], ['log', 'pid']",
        ]
