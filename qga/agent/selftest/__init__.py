"""The self-test: a table of checks, and the report of their findings.

``--self-test`` runs all checks, ``--check-config`` those of the configuration. The rule it keeps: the self-test
changes nothing and does not disturb a running agent. It briefly opens a port that no agent holds, to see whether a
host is connected.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from qga.agent import config
from qga.agent.config import ConfigError, Loaded
from qga.agent.config.cmdline import Given
from qga.agent.linux.host import Host
from qga.agent.processes import run_helper
from qga.agent.selftest import configuration, guest, port, service
from qga.agent.selftest.finding import OK, PROBLEM, WARNING, Finding, Subject, problem

Check = Callable[[Subject], Iterator[Finding]]
Checks = Sequence[tuple[str, Check]]  # each check with its name
Report = list[tuple[str, Finding]]  # each finding with the name of its check

OF_CONFIGURATION: Checks = (
    ("configuration", configuration.configuration),
    ("policy", configuration.policy),
    ("hooks", guest.hooks_valid),
)
CHECKS: Checks = (
    ("versions", guest.versions),
    *OF_CONFIGURATION,
    ("audit log", configuration.audit_log),
    ("permissions", configuration.permissions),
    ("state", configuration.state_directory),
    ("kernel and udev", port.kernel_and_udev),
    ("port", port.port),
    ("service", service.service),
    ("denials", service.denials),
    ("freezing", guest.freezing),
    ("sleep", guest.sleeping),
)

_EXIT = {OK: 0, WARNING: 1, PROBLEM: 2}


def run(given: Given, environ: Mapping[str, str], checks: Checks | None = None) -> Report:
    """Read the configuration and run the checks, by default all of them.

    If the configuration is not valid, the report has only its problems: the other checks depend on it.
    """
    try:
        loaded = config.read(given, environ)
    except ConfigError as error:
        return [("configuration", problem(text, configuration.NO_START)) for text in error.problems]
    return run_checks(loaded, Host(run=run_helper, which=shutil.which), CHECKS if checks is None else checks)


def run_checks(loaded: Loaded, host: Host, checks: Checks) -> Report:
    """Run checks on a guest whose agent uses this configuration."""
    subject = Subject(host, loaded.config, loaded.path, loaded.warnings)
    return [(name, finding) for name, check in checks for finding in _found(check, subject)]


def _found(check: Check, subject: Subject) -> Iterable[Finding]:
    """Yield the findings of a check. Never raises: a check that fails to run is itself a finding."""
    try:
        yield from check(subject)
    except Exception as error:
        yield problem(f"cannot be checked: {type(error).__name__}: {error}", "report it to the authors of qga")


def status(report: Report) -> int:
    """Return the exit status of --self-test, which the worst finding decides."""
    return max(_EXIT[finding.status] for _, finding in report)


def is_sound(report: Report) -> bool:
    """Return whether no finding is a problem."""
    return all(finding.status != PROBLEM for _, finding in report)


def as_text(report: Report) -> str:
    """Return the report with a line for each finding: status, check, what was found, what to do."""
    lines = []
    for name, finding in report:
        todo = f" -> {finding.todo}" if finding.todo else ""
        lines.append(" ".join(f"{finding.status:8} {name}: {finding.what}{todo}".splitlines()) + "\n")
    return "".join(lines)


def as_json(report: Report) -> str:
    """Return the report as JSON: the exit status, and for each finding the members that as_text() shows."""
    findings = [
        {"check": name, "status": found.status, "what": found.what, **({"todo": found.todo} if found.todo else {})}
        for name, found in report
    ]
    return json.dumps({"status": status(report), "findings": findings}, indent=1) + "\n"


def as_lines(report: Report) -> str:
    """Return the report as --check-config prints it: a line for each finding, the worst first."""
    words = {PROBLEM: "problem", WARNING: "warning", OK: "OK"}
    found = [finding for _, finding in report]
    return "".join(f"{word}: {one.what}\n" for kind, word in words.items() for one in found if one.status == kind)
