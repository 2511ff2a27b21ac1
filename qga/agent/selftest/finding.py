"""The findings that checks yield, each a line of the report, and the subject that they check."""

from __future__ import annotations

from dataclasses import dataclass

from qga.agent.config import Config
from qga.agent.linux.host import Host

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``status`` is ok, warning or problem; ``todo`` is what to do about it."""

    status: str
    what: str
    todo: str = ""


@dataclass(frozen=True)
class Subject:
    """The subject of the checks: the guest, and the agent as the file at ``path`` configures it."""

    host: Host
    config: Config
    path: str
    warnings: tuple[str, ...] = ()


def ok(what: str, todo: str = "") -> Finding:
    """Return a finding that is not a fault; ``todo`` is what to do if the reader wants something else."""
    return Finding(OK, what, todo)


def warning(what: str, todo: str) -> Finding:
    """Return a finding that may be a fault."""
    return Finding(WARNING, what, todo)


def problem(what: str, todo: str) -> Finding:
    """Return a finding that keeps the agent, or a command, from working."""
    return Finding(PROBLEM, what, todo)
