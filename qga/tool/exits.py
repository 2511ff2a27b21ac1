"""Exit statuses: what each means, and which one an error has."""

from __future__ import annotations

from typing import Any

from qga.client.errors import (
    AddressError,
    AgentTimeout,
    AgentUnreachable,
    ClientError,
    CommandFailed,
    CommandNotFound,
    OutOfStep,
)
from qga.client.operations.run import returncode

FAILED, USAGE, UNREACHABLE, TIMEOUT, NOT_FOUND, OUT_OF_STEP, HOST, MISSING, FAULT = 1, 2, 3, 4, 5, 6, 7, 8, 9
HELD_TOO_LONG, OURS = 124, 125  # as timeout(1) and env(1): no status of the program that was run

MEANING = {
    0: "done",
    FAILED: "the agent answered with an error",
    USAGE: "wrong arguments, or a wrong address",
    UNREACHABLE: "there is no way to the agent, or it broke",
    TIMEOUT: "the agent did not answer in time",
    NOT_FOUND: "the agent does not have the command, or does not allow it",
    OUT_OF_STEP: "what answered is not an agent, or its reply is wrong",
    HOST: "a file or program of this machine",
    MISSING: "an extra of this tool is not installed, or too old",
    FAULT: "a fault of this tool: please report it",
    HELD_TOO_LONG: "`freeze`, `exec`: the command took longer than --timeout",
    OURS: "`freeze`, `exec`, `shell`: any of the above; all other statuses are the command's own",
    130: "ctrl-C",
    143: "SIGTERM",
}

_STATUS: list[tuple[type[BaseException], int]] = [
    (AddressError, USAGE),
    (AgentUnreachable, UNREACHABLE),
    (AgentTimeout, TIMEOUT),
    (CommandNotFound, NOT_FOUND),
    (CommandFailed, FAILED),
    (OutOfStep, OUT_OF_STEP),
    (ClientError, FAILED),
    (OSError, HOST),
]


class UsageError(Exception):
    """The arguments cannot be meant."""


class MissingExtraError(Exception):
    """A package that this subcommand needs is not installed, or too old."""


class Terminated(BaseException):
    """SIGTERM."""


def status(error: BaseException) -> int:
    return next(code for kind, code in _STATUS if isinstance(error, kind))


def ended(status: Any) -> int:
    """The status of a program that has ended, as a shell has it."""
    return exit_status(returncode(status))


def exit_status(code: int) -> int:
    """128 and the number of the signal -N that ended it; 255 for what an exit status cannot tell."""
    status = code if code >= 0 else 128 - code
    return min(status, 255)


def markdown() -> str:
    """The README's table."""
    lines = [f"| {code} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(["| exit status | meaning |", "|---|---|", *lines])
