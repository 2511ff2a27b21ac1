"""Log lines: their form, where they go, and that none is written while frozen."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qga.agent.service import log
from qga.agent.service import syslog as syslog_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QGA = logging.getLogger("qga.test")
CALLS = logging.getLogger(log.CALLS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def dev_log(tmp_path: Path) -> str:
    return str(tmp_path / "dev-log")


def listening(dev_log: str) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(dev_log)
    receiver.setblocking(False)
    return receiver


@pytest.fixture
def syslog(dev_log: str) -> Iterator[socket.socket]:
    with listening(dev_log) as receiver:
        yield receiver


def say_all() -> None:
    for level in log.LEVEL_NAMES:
        QGA.log(level, "text")


def levels(text: str) -> list[str]:
    return [line.split(": ")[1] for line in text.splitlines()]


@pytest.mark.parametrize(
    ("switches", "shown"),
    [
        ((False, False), ["warning", "error", "critical"]),
        ((True, False), ["info", "message", "warning", "error", "critical"]),
        ((False, True), ["debug", "info", "message", "warning", "error", "critical"]),
    ],
)
def test_levels(file: Path, switches: tuple[bool, bool], shown: list[str]) -> None:
    verbose, debug = switches
    log.setup(logfile=str(file), verbose=verbose, debug=debug)
    say_all()
    assert levels(file.read_text()) == shown


def test_the_form_of_a_line(file: Path) -> None:
    log.setup(logfile=str(file))
    file.write_text("before\n")
    QGA.error("no %s", "luck")
    assert re.fullmatch(r"before\n\d{10,}\.\d{6}: error: no luck\n", file.read_text())


def test_without_a_file_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.setup()
    QGA.critical("gone")
    assert re.fullmatch(r"\d+\.\d{6}: critical: gone\n", stream.getvalue())


def test_a_message_cannot_forge_a_line(file: Path) -> None:
    log.setup(logfile=str(file))
    QGA.error("%s", "a\n1.000000: error: forged\x1b[2J\x85")
    (line,) = file.read_text().splitlines()
    assert line.endswith("error: a\\x0a1.000000: error: forged\\x1b[2J\\x85")


def test_a_traceback_is_indented_below_its_line(file: Path) -> None:
    log.setup(logfile=str(file))
    try:
        raise ValueError("bad")
    except ValueError:
        QGA.error("failed", exc_info=True)
    first, *rest = file.read_text().splitlines()
    assert first.endswith("error: failed")
    assert rest[-1] == "  ValueError: bad"
    assert all(line.startswith("  ") for line in rest)


def test_a_long_message_keeps_its_head(file: Path) -> None:
    log.setup(logfile=str(file))
    QGA.error("x" * 1_000_000)
    text = file.read_text()
    assert len(text) < log.MAX_LINE + 100
    assert text.endswith("x... (1000000 characters)\n")


def test_a_message_that_does_not_fit_its_arguments_is_not_lost() -> None:
    record = QGA.makeRecord("qga.test", logging.ERROR, "f", 1, "%d", ("x",), None)
    assert log.settled(record).msg == "'%d' ('x',)"


@pytest.mark.forks
def test_the_journal_gets_priorities_and_no_time(tmp_path: Path) -> None:
    code = (
        "import os, logging; from qga.agent.service import log\n"
        "stat = os.fstat(2)\n"
        "log.setup(debug=True, environ={'JOURNAL_STREAM': f'{stat.st_dev}:{stat.st_ino}'})\n"
        "for level in log.LEVEL_NAMES: logging.getLogger('qga').log(level, 'x')\n"
        "log.installed().close()\n"
        "log.setup(environ={'JOURNAL_STREAM': f'{stat.st_dev}:{stat.st_ino + 1}'})\n"
        "logging.getLogger('qga').error('y')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=True)
    *journal, other = done.stderr.splitlines()
    assert journal == [
        "<7>debug: x",
        "<6>info: x",
        "<5>message: x",
        "<4>warning: x",
        "<3>error: x",
        "<2>critical: x",
    ]
    assert re.fullmatch(r"\d+\.\d{6}: error: y", other)


def test_the_log_of_calls_goes_to_syslog_always_and_to_the_log_when_verbose(
    file: Path, dev_log: str, syslog: socket.socket
) -> None:
    lines = log.setup(logfile=str(file), syslog=dev_log)
    CALLS.info("%s called", "guest-ping\n")
    lines.call("guest-ping\n called")
    for _ in range(2):
        line = syslog.recv(1000)
        assert re.fullmatch(rb"<14>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d qemu-ga: info: guest-ping\\x0a called", line)
    assert file.read_text() == ""
    QGA.critical("not a call")
    with pytest.raises(BlockingIOError):
        syslog.recv(1000)

    installed = log.installed()
    assert installed is not None
    installed.close()
    lines = log.setup(logfile=str(file), verbose=True, syslog=dev_log)
    for tell in (CALLS.info, lines.call):
        tell("guest-ping called")
        assert b"guest-ping called" in syslog.recv(1000)
    assert file.read_text().count("info: guest-ping called\n") == 2


def test_a_missing_full_or_restarted_syslog_does_no_harm(
    file: Path, dev_log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog_module, "ABSENCE", 0.0)
    log.setup(logfile=str(file), syslog=dev_log)
    CALLS.info("nobody listens")
    with listening(dev_log) as first:
        for _ in range(2000):  # far more than a receive queue holds: a blocking send would hang here
            CALLS.info("x" * 1000)
        assert b"nobody" not in first.recv(2000)
    os.unlink(dev_log)
    with listening(dev_log) as second:
        CALLS.info("after the restart")
        assert second.recv(2000).endswith(b"after the restart")


def test_nothing_is_written_while_paused_and_all_of_it_after(file: Path, dev_log: str, syslog: socket.socket) -> None:
    installed = log.setup(logfile=str(file), syslog=dev_log)
    installed.pause()
    argument = ["first"]
    QGA.error("%s", argument)
    argument.append("changed later")
    installed.call("guest-ping called")
    assert file.read_text() == ""
    with pytest.raises(BlockingIOError):
        syslog.recv(1000)
    installed.resume()
    QGA.error("second")
    assert [line.partition(": ")[2] for line in file.read_text().splitlines()] == [
        "error: ['first']",
        "error: second",
    ]
    assert b"guest-ping called" in syslog.recv(1000)


def test_lines_written_after_a_pause_have_their_original_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = log.setup(logfile=str(file))
    installed.pause()
    record = QGA.makeRecord("qga.test", logging.ERROR, "f", 1, "then", (), None)
    record.created = 1234567890.5
    QGA.handle(record)
    installed.resume()
    assert file.read_text() == "1234567890.500000: error: then\n"


def test_held_lines_are_bounded_and_the_loss_is_reported(file: Path) -> None:
    installed = log.setup(logfile=str(file))
    installed.pause()
    for number in range(log.MAX_HELD + 3):
        QGA.error("line %d", number)
    installed.resume()
    lines = file.read_text().splitlines()
    assert lines[0].endswith("warning: 3 log lines were dropped while frozen")
    assert lines[1].endswith("line 3")
    assert lines[-1].endswith(f"line {log.MAX_HELD + 2}")
    assert len(lines) == log.MAX_HELD + 1


def test_started_paused_the_file_is_not_touched_before_resume(file: Path) -> None:
    installed = log.setup(logfile=str(file), paused=True)
    QGA.error("early")
    assert not file.exists()
    installed.resume()
    assert file.read_text().endswith("error: early\n")


def test_a_file_that_cannot_be_opened_after_the_thaw_falls_back_to_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    installed = log.setup(logfile=str(tmp_path), paused=True)
    QGA.error("early")
    installed.resume()
    assert [line.partition(": ")[2] for line in stream.getvalue().splitlines()] == [
        f"error: cannot open log file '{tmp_path}': Is a directory",
        "error: early",
    ]


@pytest.mark.parametrize("path", ["/nonexistent/log", "a\0b"])
def test_a_file_that_cannot_be_opened_at_the_start_is_an_error(path: str) -> None:
    with pytest.raises(log.LogError, match="cannot open log file"):
        log.setup(logfile=path)
    assert log.installed() is None


def test_reopen_follows_a_rotation(file: Path) -> None:
    installed = log.setup(logfile=str(file))
    QGA.error("one")
    rotated = file.rename(file.with_suffix(".1"))
    installed.reopen()
    QGA.error("two")
    assert rotated.read_text().endswith("one\n")
    assert file.read_text().endswith("two\n")


def test_reopen_while_paused_waits_for_resume(file: Path) -> None:
    installed = log.setup(logfile=str(file))
    installed.pause()
    file.unlink()
    installed.reopen()
    QGA.error("one")
    assert not file.exists()
    installed.resume()
    assert file.read_text().endswith("one\n")


def test_a_file_that_cannot_be_reopened_is_kept_open(file: Path) -> None:
    installed = log.setup(logfile=str(file))
    rotated = file.rename(file.with_suffix(".1"))
    file.mkdir()
    installed.reopen()
    assert f"error: cannot open log file '{file}'" in rotated.read_text()


def test_a_full_disk_does_not_stop_the_agent() -> None:
    log.setup(logfile="/dev/full")
    QGA.error("lost")
