from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from qga.agent.linux.host import Host, Outcome
from qga.protocol import schema
from tests.conftest import FakePrograms, failed

Execute = Callable[..., dict[str, Any]]

HWCLOCK = "/usr/bin/hwclock"  # where the stand-in programs lie
MISSING = (
    "child process has failed to set hardware clock to system time:"
    " failed to exec '/sbin/hwclock': No such file or directory\n"
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, programs: FakePrograms) -> list[int]:
    """What the guest's clock was set to, in order; programs must not have run before."""
    settings: list[int] = []

    def set_clock(self: Host, nanoseconds: int) -> None:
        assert programs.calls == []
        settings.append(nanoseconds)

    monkeypatch.setattr(Host, "set_clock", set_clock)
    return settings


def hwclock(programs: FakePrograms, outcome: Outcome) -> None:
    programs.answers |= {"hwclock": outcome, HWCLOCK: outcome}


def test_time_has_microsecond_resolution(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "clock", lambda self: 1_700_000_000_123_456_789)
    assert execute("guest-get-time") == {"return": 1_700_000_000_123_456_000}


def test_time_is_the_clock_of_this_machine(execute: Execute) -> None:
    before = time.time_ns()
    returned = execute("guest-get-time")["return"]
    assert before - 1000 < returned <= time.time_ns()


@pytest.mark.parametrize("wanted", [0, 1_700_000_000_123_456_789, 3_155_760_000 * 10**9])  # the last: year 2070
def test_clock_and_then_hardware_clock_are_set(
    execute: Execute, programs: FakePrograms, clock: list[int], caplog: pytest.LogCaptureFixture, wanted: int
) -> None:
    hwclock(programs, Outcome(status=0))
    assert execute("guest-set-time", time=wanted) == {"return": {}}
    assert clock == [wanted]
    assert programs.calls == [f"{HWCLOCK} -w"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (None, "/sbin/hwclock: cannot be run: No such file or directory"),
        (Outcome(status=1, output=b"no rtc\n"), f"{HWCLOCK}: exit status 1: no rtc"),
        (Outcome(timeout=60), f"{HWCLOCK}: timed out after 60 s"),
    ],
)
def test_hardware_clock_that_cannot_be_set_is_a_warning(
    execute: Execute,
    programs: FakePrograms,
    clock: list[int],
    caplog: pytest.LogCaptureFixture,
    outcome: Outcome | None,
    said: str,
) -> None:
    if outcome is not None:
        hwclock(programs, outcome)
    assert execute("guest-set-time", time=5) == {"return": {}}
    assert clock == [5]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [f"the clock is set, but the hardware clock is not: {said}"]


def test_without_a_time_the_hardware_clock_counts(execute: Execute, programs: FakePrograms, clock: list[int]) -> None:
    hwclock(programs, Outcome(status=0))
    assert execute("guest-set-time") == {"return": {}}
    assert (clock, programs.calls) == ([], [f"{HWCLOCK} -s"])


def test_without_a_time_a_failing_hardware_clock_is_the_error(
    execute: Execute, programs: FakePrograms, clock: list[int]
) -> None:
    assert execute("guest-set-time") == failed(MISSING)
    assert programs.calls == ["/sbin/hwclock -s"]
    hwclock(programs, Outcome(status=1, output=b"no rtc\n"))
    assert execute("guest-set-time") == failed(
        "child process has failed to set hardware clock to system time: no rtc\n"
    )
    assert clock == []


@pytest.mark.parametrize("wanted", [-1, -(10**9), -(2**63)])
def test_time_before_1970(execute: Execute, programs: FakePrograms, clock: list[int], wanted: int) -> None:
    assert execute("guest-set-time", time=wanted) == failed("Invalid time")
    assert (clock, programs.calls) == ([], [])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(1, "Operation not permitted"), "Failed to set time to guest: Operation not permitted"),
        (OSError(22, "Invalid argument"), "Failed to set time to guest: Invalid argument"),
        (OverflowError("timestamp out of range for platform time_t"), "Time 7 is too large"),
    ],
)
def test_clock_that_cannot_be_set(
    execute: Execute, programs: FakePrograms, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(self: Host, nanoseconds: int) -> None:
        raise error

    monkeypatch.setattr(Host, "set_clock", fail)
    assert execute("guest-set-time", time=7) == failed(said)
    assert programs.calls == []


def test_the_clock_of_this_machine_is_guarded(host: Host) -> None:
    with pytest.raises(pytest.fail.Exception, match="clock_settime_ns was called by a test"):
        host.set_clock(0)


def test_earlier_replies_are_not_delayed() -> None:
    assert schema.load().commands["guest-set-time"].slow
