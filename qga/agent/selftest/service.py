"""Checks of the agent's systemd service, and of denials by SELinux and AppArmor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from qga.agent.linux.host import Host
from qga.agent.selftest.finding import Finding, Subject, ok, problem, warning

SERVICE = "qemu-ga.service"
OTHERS = ("qemu-guest-agent.service",)  # units of distributions that start QEMU's agent

_SHOWN = ("LoadState", "ActiveState", "SubState", "NRestarts", "MainPID", "User", "Result")
_AUDIT_LOG = "/var/log/audit/audit.log"
_TAIL = 4 * 1024 * 1024  # bytes searched at the end of a log
_DENIAL = re.compile(r'(avc:\s+denied|apparmor="DENIED").*(qemu-ga|qemu_ga|qemu-guest)')


def service(subject: Subject) -> Iterator[Finding]:
    """Check that systemd runs this agent, and no other agent as well."""
    host = subject.host
    if not os.path.isdir(host.path("/run/systemd/system")):
        yield ok("systemd is not the init system here: how the agent is started is not checked")
        return
    shown = _show(host, SERVICE)
    active, restarts = shown.get("ActiveState"), shown.get("NRestarts", "0")
    if shown.get("LoadState") != "loaded":
        yield problem(
            f"{SERVICE} is {shown.get('LoadState', 'unknown')}", f"systemctl link its file; journalctl -u {SERVICE}"
        )
    elif active != "active":
        yield problem(
            f"{SERVICE} is {active} ({shown.get('Result')})", f"systemctl start {SERVICE}; journalctl -u {SERVICE}"
        )
    elif restarts != "0":
        yield warning(f"{SERVICE} is active, after {restarts} restarts", f"journalctl -u {SERVICE} says why")
    else:
        yield ok(f"{SERVICE} is active, as process {shown.get('MainPID')} of user {shown.get('User') or 'root'}")
    for other in OTHERS:
        if _show(host, other).get("ActiveState") in ("active", "activating"):
            yield problem(f"{other} runs as well", f"systemctl mask --now {other}")


def denials(subject: Subject) -> Iterator[Finding]:
    """Report what SELinux or AppArmor has denied the agent, as far back as the logs go."""
    host = subject.host
    systems = {"SELinux": "/sys/fs/selinux/enforce", "AppArmor": "/sys/kernel/security/apparmor"}
    present = [name for name, path in systems.items() if os.path.exists(host.path(path))]
    if not present:
        yield ok("neither SELinux nor AppArmor is in use")
        return
    text = _tail(host.path(_AUDIT_LOG)) + _kernel_log(host)
    lines = [line for line in text.splitlines() if _DENIAL.search(line)]
    if lines:
        todo = "ausearch -m avc -c qemu-ga; see the distribution's booleans for virt_qemu_ga"
        yield warning(f"{' and '.join(present)}: {len(lines)} denials, the last: {lines[-1][:200]}", todo)
    else:
        yield ok(f"{' and '.join(present)}: no denials of the agent are in the logs")


def _show(host: Host, unit: str) -> dict[str, str]:
    outcome = host.run(("systemctl", "show", unit, *(f"--property={name}" for name in _SHOWN)))
    lines = outcome.output.decode(errors="replace").splitlines() if outcome.ok else []
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""


def _kernel_log(host: Host) -> str:
    return host.run(("dmesg", "--nopager")).output.decode(errors="replace") if host.which("dmesg") else ""
