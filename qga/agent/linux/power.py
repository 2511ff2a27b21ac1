"""Ways to put this guest to sleep or to shut it down: tables of methods, tried in order.

A method first says whether it can (probe), then does it (act). Each answers None, or in words why not; a refusal
hands on to the next method, and when none is left the caller gets them all.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple, Optional

from qga.agent.linux.host import Host

log = logging.getLogger(__name__)

SLEEP_TIMEOUT = 120.0  # seconds, awake ones: what a helper may take to fall asleep and to come back
POLL = 0.2  # seconds between two looks at whether logind is still busy with putting the guest to sleep

_PM_REFUSED = 128  # the least exit status of pm-suspend(8) and its kin that says that the kernel refused

_PM_LOG = "/var/log/pm-suspend.log"
_POWER_STATE = "/sys/power/state"
_POWER_DISK = "/sys/power/disk"
_SLEEPS = "/sys/power/suspend_stats/success"
_LOGIND = (
    "org.freedesktop.login1",
    "/org/freedesktop/login1",
    "org.freedesktop.login1.Manager",
)

Refusal = Optional[str]


class SleepMode(NamedTuple):
    """The names that one kind of sleep has for each of its methods."""

    name: str
    pm_flag: str  # of pm-is-supported(1)
    pm_program: str
    logind: str  # the method of org.freedesktop.login1(5); CanX asks whether it would
    systemctl: str
    unit: str
    kernel: str  # the word for /sys/power/state, Documentation/admin-guide/pm/sleep-states.rst


RAM = SleepMode("ram", "--suspend", "pm-suspend", "Suspend", "suspend", "systemd-suspend.service", "mem")
DISK = SleepMode("disk", "--hibernate", "pm-hibernate", "Hibernate", "hibernate", "systemd-hibernate.service", "disk")
HYBRID = SleepMode(
    "hybrid",
    "--suspend-hybrid",
    "pm-suspend-hybrid",
    "HybridSleep",
    "hybrid-sleep",
    "systemd-hybrid-sleep.service",
    "disk",
)


class SleepMethod(NamedTuple):
    """A way to put the guest to sleep: ``probe`` checks that it can, ``act`` does it."""

    name: str
    probe: Callable[[Host, SleepMode], Refusal]
    act: Callable[[Host, SleepMode], Refusal]


def suspend(host: Host, mode: SleepMode) -> tuple[bool, list[str]]:
    """Put the guest to sleep by the first method that can.

    Returns, when the guest is awake again, no refusals; or, if every method failed, whether any of them was
    supported and the refusal of each: ``["pm-utils: not installed", …]``.
    """
    supported, refusals = False, []
    for method in SLEEP_METHODS:
        refusal = method.probe(host, mode)
        if refusal is None:
            supported = True
            refusal = method.act(host, mode)
            if refusal is None:
                return True, []
        refusals.append(f"{method.name}: {refusal}")
    return supported, refusals


def _sleeps(host: Host) -> tuple[str, int]:
    """Return a value that differs before and after a sleep.

    The kernel counts suspensions to RAM; the others show in the clock, if they took a second. A hibernation that
    failed may show there, too: the clock stands still while the kernel makes its image.
    """
    try:
        count = host.read(_SLEEPS)
    except OSError:
        count = ""
    return count, round(host.asleep())


def _pm_probe(host: Host, mode: SleepMode) -> Refusal:
    if host.which("pm-is-supported") is None:
        return "not installed"
    outcome = host.run(("pm-is-supported", mode.pm_flag))
    return None if outcome.ok else f"pm-is-supported {mode.pm_flag}: {outcome.text}"


def _pm_act(host: Host, mode: SleepMode) -> Refusal:
    before, awakenings = _sleeps(host), _pm_awakenings(host)
    outcome = host.run((mode.pm_program,), timeout=SLEEP_TIMEOUT)
    if outcome.ok:
        return None
    refusal = f"{mode.pm_program}: {outcome.text}"
    has_slept = _sleeps(host) != before or _pm_awakenings(host) not in ([], awakenings)
    if (outcome.status or 0) < _PM_REFUSED and has_slept:
        # A hook failed on resume. Handing on would put a guest that has just been woken to sleep again.
        log.warning("the guest has slept, but then: %s", refusal)
        return None
    return refusal


def _pm_awakenings(host: Host) -> list[str]:
    """Return the lines of pm-utils' log, which begins anew with each run, that say when the guest has woken.

    A hybrid sleep shows nowhere else if it took less than a second: the kernel does not count it.
    """
    try:
        text = host.read(_PM_LOG)
    except OSError:
        return []
    return [line for line in text.splitlines() if line.endswith(": Awake.")]


def _systemd_probe(host: Host, mode: SleepMode) -> Refusal:
    if not os.path.isdir(host.path("/run/systemd/system")):  # sd_booted(3)
        return "not the running init"
    outcome = host.run(("busctl", "call", *_LOGIND, f"Can{mode.logind}"))
    if not outcome.ok:
        return f"busctl Can{mode.logind}: {outcome.text}"
    answer = outcome.output.decode(errors="replace").strip()
    return None if answer == 's "yes"' else f"logind answers {answer.removeprefix('s ')} to Can{mode.logind}"


def _systemd_act(host: Host, mode: SleepMode) -> Refusal:
    """Sleep by systemctl, which returns at once: the unit says how it went, as soon as logind is idle."""
    host.run(("systemctl", "reset-failed", mode.unit))
    outcome = host.run(("systemctl", mode.systemctl), timeout=SLEEP_TIMEOUT)
    if not outcome.ok:
        return f"systemctl {mode.systemctl}: {outcome.text}"
    deadline = time.monotonic() + SLEEP_TIMEOUT
    while _logind_is_busy(host):
        if time.monotonic() >= deadline:
            return f"logind has not carried out {mode.systemctl} after {SLEEP_TIMEOUT:g} s"
        time.sleep(POLL)
    failed = host.run(("systemctl", "is-failed", "--quiet", mode.unit)).ok
    return f"{mode.unit} has failed" if failed else None


def _logind_is_busy(host: Host) -> bool:
    outcome = host.run(("busctl", "get-property", *_LOGIND, "PreparingForSleep"))
    return outcome.output.strip() == b"b true"


def _kernel_probe(host: Host, mode: SleepMode) -> Refusal:
    wanted = [(_POWER_STATE, mode.kernel)]
    if mode is HYBRID:
        wanted.append((_POWER_DISK, "suspend"))
    for path, word in wanted:
        try:
            offered = host.read(path).split()
        except OSError as error:
            return f"cannot read {path}: {error.strerror}"
        if word not in (option.strip("[]") for option in offered):
            return f"{path} offers {' '.join(offered) or 'nothing'}, not {word}"
    return None


def _kernel_act(host: Host, mode: SleepMode) -> Refusal:
    path = _POWER_STATE
    try:
        if mode is RAM:
            host.write(path, mode.kernel)
            return None
        # What is chosen in /sys/power/disk stays, also after systemd's hybrid sleep: a plain hibernation after
        # that would be another hybrid one.
        path, options = _POWER_DISK, host.read(_POWER_DISK).split()
        offered = [option.strip("[]") for option in options]
        chosen = next((option.strip("[]") for option in options if option.startswith("[")), "")
        power_off = chosen if chosen not in ("", "suspend") else next(iter(offered), "platform")
        host.write(path, "suspend" if mode is HYBRID else power_off)
        try:
            path = _POWER_STATE
            host.write(path, mode.kernel)
        finally:
            host.write(_POWER_DISK, power_off)
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    return None


# pm-utils first: on a guest of today it is there because its administrator installed it.
SLEEP_METHODS = (
    SleepMethod("pm-utils", _pm_probe, _pm_act),
    SleepMethod("systemd", _systemd_probe, _systemd_act),
    SleepMethod("kernel", _kernel_probe, _kernel_act),
)

# mode of guest-shutdown: systemctl's verb, the program of a classic init, the flag of shutdown(8).
SHUTDOWN_MODES = {
    "powerdown": ("poweroff", "/sbin/poweroff", "-P"),
    "halt": ("halt", "/sbin/halt", "-H"),
    "reboot": ("reboot", "/sbin/reboot", "-r"),
}

# What systemd does at a signal, above SIGRTMIN: systemd(1). An agent that is not root needs no more than CAP_KILL.
_SIGNALS = {"halt": 3, "powerdown": 4, "reboot": 5}


def shut_down(host: Host, mode: str) -> list[str]:
    """Start the shutdown; returns no refusals, or if every way failed the refusal of each.

    ``mode`` is a key of SHUTDOWN_MODES.
    """
    verb, program, flag = SHUTDOWN_MODES[mode]
    commands = [(program,), ("/sbin/shutdown", "-h", flag, "+0", "hypervisor initiated shutdown")]
    refusals = []
    if os.path.isdir(host.path("/run/systemd/system")):
        commands.insert(0, ("systemctl", verb))
        if os.geteuid() != 0:
            refusal = _by_signal(host, mode)
            if refusal is None:
                return []
            refusals.append(refusal)
    for command in commands:
        outcome = host.run(command)
        if outcome.ok:
            return []
        refusals.append(f"{' '.join(command[:2])}: {outcome.text}")
    return refusals


def _by_signal(host: Host, mode: str) -> Refusal:
    """Shut down by a signal to init: systemctl would go through polkit, which wants a password of non-root users."""
    try:
        host.signal_init(signal.SIGRTMIN + _SIGNALS[mode])
    except OSError as error:
        return f"signal to init: {error.strerror}"
    return None
