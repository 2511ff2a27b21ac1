"""``--self-test``: is all there that the agent needs? A table of checks, each of which only looks.

The rule it keeps: it changes nothing, and takes nothing away from an agent that runs. A port that no agent holds is
opened for a moment, to see whether a host is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator

from qga.agent.config import Loaded
from qga.agent.linux.host import Host
from qga.agent.processes import ask
from qga.agent.selftest import configuration, guest, port, service
from qga.agent.selftest.finding import OK, PROBLEM, WARNING, Finding, Subject, problem

Check = Callable[[Subject], Iterator[Finding]]
Report = list[tuple[str, Finding]]  # by the name of the check

CHECKS: tuple[tuple[str, Check], ...] = (
    ("versions", guest.versions),
    ("configuration", configuration.configuration),
    ("policy", configuration.policy),
    ("audit log", configuration.audit_log),
    ("permissions", configuration.permissions),
    ("state", configuration.state_directory),
    ("kernel and udev", port.kernel_and_udev),
    ("port", port.port),
    ("service", service.service),
    ("denials", service.denials),
    ("freezing", guest.freezing),
    ("hooks", guest.hooks_valid),
    ("sleep", guest.sleeping),
)

_EXIT = {OK: 0, WARNING: 1, PROBLEM: 2}


def check_up(loaded: Loaded, host: Host | None = None) -> Report:
    host = host or Host(run=ask, which=shutil.which)
    subject = Subject(host, loaded.config, loaded.path, loaded.warnings)
    return [(name, finding) for name, check in CHECKS for finding in _found(check, subject)]


def _found(check: Check, subject: Subject) -> Iterable[Finding]:
    """A check that cannot be made is a finding as well, and keeps no other from being made."""
    try:
        yield from check(subject)
    except Exception as error:
        yield problem(f"cannot be looked at: {type(error).__name__}: {error}", "tell the authors of qga")


def status(report: Report) -> int:
    """The exit status: that of the worst."""
    return max(_EXIT[finding.status] for _, finding in report)


def as_text(report: Report) -> str:
    """A line each."""
    lines = []
    for name, finding in report:
        todo = f" -> {finding.todo}" if finding.todo else ""
        lines.append(" ".join(f"{finding.status:8} {name}: {finding.what}{todo}".splitlines()) + "\n")
    return "".join(lines)


def as_json(report: Report) -> str:
    findings = [
        {"check": name, "status": found.status, "what": found.what, **({"todo": found.todo} if found.todo else {})}
        for name, found in report
    ]
    return json.dumps({"status": status(report), "findings": findings}, indent=1) + "\n"
