"""Every method to sleep and to shut down, with scripted programs and files."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from qga.agent.commands import power as commands
from qga.agent.context import Context
from qga.agent.linux import power
from qga.agent.linux.host import Host, Outcome
from qga.agent.policy import Policy
from qga.protocol.errors import CommandError
from qga.protocol.schema import Schema
from tests.conftest import FakePrograms, now, write
from tests.contexts import context

OK = Outcome(status=0)
FAIL = Outcome(status=1, output=b"it will not\n")
YES = Outcome(status=0, output=b's "yes"\n')
IDLE = Outcome(status=0, output=b"b false\n")
BUSCTL = "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager"
PREPARING = BUSCTL.replace("call", "get-property") + " PreparingForSleep"
MODES = [power.RAM, power.DISK, power.HYBRID]


@pytest.fixture
def ctx(host: Host) -> Context:
    return context(host, Schema({}), Policy())


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "POLL", 0.001)


def systemd(host: Host, programs: FakePrograms, mode: power.SleepMode) -> None:
    """A guest whose logind would put it to sleep, and does."""
    Path(host.path("/run/systemd/system")).mkdir(parents=True)
    programs.answers |= {
        f"{BUSCTL} Can{mode.logind}": YES,
        f"systemctl reset-failed {mode.unit}": OK,
        f"systemctl {mode.systemctl}": OK,
        f"systemctl is-failed --quiet {mode.unit}": Outcome(status=3),
        PREPARING: IDLE,
    }


def kernel(host: Host, state: str = "freeze mem disk\n", disk: str = "[platform] shutdown suspend\n") -> None:
    write(host, "/sys/power/state", state)
    write(host, "/sys/power/disk", disk)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_pm_utils_comes_first_and_is_probed(host: Host, programs: FakePrograms, mode: power.SleepMode) -> None:
    systemd(host, programs, mode)
    kernel(host)
    programs.answers |= {f"pm-is-supported {mode.pm_flag}": OK, mode.pm_program: OK}
    assert power.suspend(host, mode) == (True, [])
    assert programs.calls == [f"pm-is-supported {mode.pm_flag}", mode.pm_program]
    assert host.read("/sys/power/state") == "freeze mem disk\n"


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_systemd_is_next(host: Host, programs: FakePrograms, mode: power.SleepMode) -> None:
    systemd(host, programs, mode)
    kernel(host)
    programs.answers["pm-is-supported"] = FAIL
    assert power.suspend(host, mode) == (True, [])
    assert f"systemctl {mode.systemctl}" in programs.calls
    assert host.read("/sys/power/state") == "freeze mem disk\n"


@pytest.mark.parametrize(
    ("mode", "state", "disk"),
    [(power.RAM, "mem", None), (power.DISK, "disk", None), (power.HYBRID, "disk", "platform")],
    ids=["ram", "disk", "hybrid"],
)
def test_kernel_is_last(host: Host, mode: power.SleepMode, state: str, disk: str | None) -> None:
    kernel(host)
    assert power.suspend(host, mode) == (True, [])
    assert host.read("/sys/power/state").startswith(state)
    if disk is not None:
        assert host.read("/sys/power/disk").startswith(disk)


def test_hybrid_writes_suspend_then_disk_then_what_was_chosen(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(host, disk="platform [shutdown] suspend\n")
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(Host, "write", lambda self, path, text: written.append((path, text)))
    power.suspend(host, power.HYBRID)
    assert written == [("/sys/power/disk", "suspend"), ("/sys/power/state", "disk"), ("/sys/power/disk", "shutdown")]


def test_hibernation_after_a_hybrid_sleep_powers_off(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd leaves its own choice of sleep mode in the file."""
    kernel(host, disk="platform shutdown reboot [suspend] test_resume\n")
    written: list[str] = []
    monkeypatch.setattr(Host, "write", lambda self, path, text: written.append(text))
    power.suspend(host, power.DISK)
    assert written == ["platform", "disk", "platform"]


def test_hybrid_restores_the_setting_when_the_kernel_refuses(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(host)
    written: list[str] = []

    def refuse(self: Host, path: str, text: str) -> None:
        written.append(text)
        if text == "disk":
            raise OSError(errno.EBUSY, "Device or resource busy", path)

    monkeypatch.setattr(Host, "write", refuse)
    assert (
        power.suspend(host, power.HYBRID)[1][-1] == "kernel: cannot write /sys/power/state: Device or resource busy"
    )
    assert written == ["suspend", "disk", "platform"]


def test_failing_method_falls_back_to_the_next(host: Host, programs: FakePrograms) -> None:
    systemd(host, programs, power.RAM)
    programs.answers |= {"pm-is-supported": OK, "pm-suspend": FAIL}
    assert power.suspend(host, power.RAM) == (True, [])
    assert "systemctl suspend" in programs.calls


PM_LOG = "/var/log/pm-suspend.log"
RUN = "Initial commandline parameters: \nSun Nov 29 09:24:17 UTC 2026: performing suspend_hybrid\n"
AWAKE = "Sun Nov 29 09:24:24 UTC 2026: Awake.\nSun Nov 29 09:24:24 UTC 2026: Running hooks for resume\n"


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/sys/power/suspend_stats/success", "3\n", "4\n"),
        (PM_LOG, "", RUN + AWAKE),
        (PM_LOG, (RUN + AWAKE).replace("09:24", "08:11"), RUN + AWAKE),
    ],
)
def test_guest_that_has_slept_is_not_put_to_sleep_again(
    host: Host, programs: FakePrograms, caplog: pytest.LogCaptureFixture, path: str, before: str, after: str
) -> None:
    """A hook that fails on resume makes pm-suspend exit with 1 after the guest has slept and woken."""
    systemd(host, programs, power.RAM)
    write(host, path, before)
    programs.answers |= {"pm-is-supported": OK, "pm-suspend": FAIL}

    def run(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 0) -> Outcome:
        if argv[0] == "pm-suspend":
            write(host, path, after)
        return programs.run(argv)

    assert power.suspend(Host(run, host.which, host.root), power.RAM) == (True, [])
    assert programs.calls[-1] == "pm-suspend"
    assert caplog.messages == ["the guest has slept, but then: pm-suspend: exit status 1: it will not"]


def test_a_log_of_an_earlier_sleep_does_not_count(host: Host, programs: FakePrograms) -> None:
    systemd(host, programs, power.RAM)
    write(host, PM_LOG, RUN + AWAKE)
    programs.answers |= {"pm-is-supported": OK, "pm-suspend": FAIL}
    assert power.suspend(host, power.RAM) == (True, [])
    assert "systemctl suspend" in programs.calls


def test_hibernation_that_failed_half_way_is_an_error(host: Host, programs: FakePrograms) -> None:
    """Without swap the kernel fails only after creating its image, while the clock stood still."""
    seconds = iter((0.0, 2.0))

    class Clock(Host):
        def asleep(self) -> float:
            return next(seconds)

    programs.answers |= {"pm-is-supported": OK, "pm-hibernate": Outcome(status=129)}
    supported, refusals = power.suspend(Clock(programs.run, programs.which, host.root), power.DISK)
    assert supported
    assert refusals[0] == "pm-utils: pm-hibernate: exit status 129"


def test_unsupported_by_every_method(ctx: Context) -> None:
    with pytest.raises(CommandError) as caught:
        now(commands.guest_suspend_ram(ctx))
    assert str(caught.value) == (
        "the requested suspend mode is not supported by the guest (ram): pm-utils: not installed;"
        " systemd: not the running init; kernel: cannot read /sys/power/state: No such file or directory"
    )


def test_every_method_fails_and_is_quoted(ctx: Context, programs: FakePrograms) -> None:
    systemd(ctx.host, programs, power.DISK)
    kernel(ctx.host, state="freeze mem\n")
    programs.answers |= {
        "pm-is-supported --hibernate": OK,
        "pm-hibernate": Outcome(signal=9),
        "systemctl hibernate": Outcome(timeout=120.0),
    }
    with pytest.raises(CommandError) as caught:
        now(commands.guest_suspend_disk(ctx))
    assert str(caught.value) == (
        "failed to suspend (disk): pm-utils: pm-hibernate: killed by SIGKILL;"
        " systemd: systemctl hibernate: timed out after 120 s;"
        " kernel: /sys/power/state offers freeze mem, not disk"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Outcome(status=1), "pm-is-supported --suspend-hybrid: exit status 1"),
        (Outcome(status=1, output=b"no\nswap\n"), "pm-is-supported --suspend-hybrid: exit status 1: no\nswap"),
        (Outcome(signal=11), "pm-is-supported --suspend-hybrid: killed by SIGSEGV"),
        (Outcome(timeout=60.0), "pm-is-supported --suspend-hybrid: timed out after 60 s"),
    ],
)
def test_pm_utils_says_no(host: Host, programs: FakePrograms, answer: Outcome, said: str) -> None:
    programs.answers["pm-is-supported"] = answer
    assert power.suspend(host, power.HYBRID)[1][0] == f"pm-utils: {said}"
    assert "pm-suspend-hybrid" not in programs.calls


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Outcome(status=0, output=b's "na"\n'), 'logind answers "na" to CanHibernate'),
        (Outcome(status=0, output=b's "challenge"\n'), 'logind answers "challenge" to CanHibernate'),
        (
            Outcome(status=1, output=b"Failed to connect to bus\n"),
            "busctl CanHibernate: exit status 1: Failed to connect to bus",
        ),
    ],
)
def test_logind_says_no(host: Host, programs: FakePrograms, answer: Outcome, said: str) -> None:
    systemd(host, programs, power.DISK)
    programs.answers[f"{BUSCTL} CanHibernate"] = answer
    assert power.suspend(host, power.DISK)[1][1] == f"systemd: {said}"
    assert "systemctl hibernate" not in programs.calls


def test_systemd_that_accepted_and_failed_is_an_error(host: Host, programs: FakePrograms) -> None:
    systemd(host, programs, power.RAM)
    programs.answers[f"systemctl is-failed --quiet {power.RAM.unit}"] = OK
    assert power.suspend(host, power.RAM)[1][1] == "systemd: systemd-suspend.service has failed"


def test_logind_that_never_finishes_times_out(
    host: Host, programs: FakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "SLEEP_TIMEOUT", 0.05)
    systemd(host, programs, power.RAM)
    programs.answers[PREPARING] = Outcome(status=0, output=b"b true\n")
    assert "logind has not carried out suspend" in power.suspend(host, power.RAM)[1][1]


def test_kernel_states_are_matched_as_whole_words(host: Host) -> None:
    kernel(host, state="freeze memory\n")
    assert power.suspend(host, power.RAM)[1][2] == "kernel: /sys/power/state offers freeze memory, not mem"
    kernel(host, disk="[disabled]\n")
    assert power.suspend(host, power.HYBRID)[1][2] == "kernel: /sys/power/disk offers [disabled], not suspend"


@pytest.mark.parametrize("mode", ["powerdown", "halt", "reboot"])
def test_shutdown_through_systemd(ctx: Context, programs: FakePrograms, mode: str) -> None:
    Path(ctx.host.path("/run/systemd/system")).mkdir(parents=True)
    programs.answers["systemctl"] = OK
    now(commands.guest_shutdown(ctx, mode=mode))
    assert programs.calls == [f"systemctl {'poweroff' if mode == 'powerdown' else mode}"]


def test_shutdown_powers_down_by_default(ctx: Context, programs: FakePrograms) -> None:
    programs.answers["/sbin/poweroff"] = OK
    now(commands.guest_shutdown(ctx))
    assert programs.calls == ["/sbin/poweroff"]


def test_shutdown_falls_back_to_shutdown(ctx: Context, programs: FakePrograms) -> None:
    programs.answers["/sbin/shutdown -h -r +0 hypervisor initiated shutdown"] = OK
    now(commands.guest_shutdown(ctx, mode="reboot"))
    assert programs.calls[-1].startswith("/sbin/shutdown -h -r +0")


def test_shutdown_that_fails_names_every_method_tried(ctx: Context, programs: FakePrograms) -> None:
    programs.answers["/sbin/halt"] = FAIL
    with pytest.raises(CommandError) as caught:
        now(commands.guest_shutdown(ctx, mode="halt"))
    assert str(caught.value) == (
        "failed to shut down (halt): /sbin/halt: exit status 1: it will not;"
        " /sbin/shutdown -h: cannot be run: No such file or directory"
    )


def test_shutdown_mode_that_does_not_exist(ctx: Context) -> None:
    with pytest.raises(CommandError, match=r"^mode is invalid \(valid values are: halt\|powerdown\|reboot$"):
        now(commands.guest_shutdown(ctx, mode="off"))


def test_write_needs_an_existing_file(host: Host, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        host.write("/sys/power/state", "mem")
