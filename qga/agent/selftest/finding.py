"""What a check gives: one line for the owner."""

from __future__ import annotations

from dataclasses import dataclass

from qga.agent.config import Config
from qga.agent.linux.host import Host

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """``status`` is ok, warning or problem; ``todo`` what to do about it."""

    status: str
    what: str
    todo: str = ""


@dataclass(frozen=True)
class Subject:
    """What is looked at: the guest, and the agent as it is configured by the file at ``path``."""

    host: Host
    config: Config
    path: str
    warnings: tuple[str, ...] = ()


def ok(what: str, todo: str = "") -> Finding:
    """``todo``: what to do if the owner wants it otherwise."""
    return Finding(OK, what, todo)


def warning(what: str, todo: str) -> Finding:
    return Finding(WARNING, what, todo)


def problem(what: str, todo: str) -> Finding:
    return Finding(PROBLEM, what, todo)
