"""Exit statuses: what each means, and which one, and which sentence, an error has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qga.client.errors import (
    AddressError,
    AgentTimeout,
    AgentUnreachable,
    ClientError,
    CommandFailed,
    CommandNotFound,
    OutOfStep,
)

if TYPE_CHECKING:
    from qga.client.replies import ExecStatus

FAILED, USAGE, UNREACHABLE, TIMEOUT, NOT_FOUND, OUT_OF_STEP, HOST, MISSING, FAULT = 1, 2, 3, 4, 5, 6, 7, 8, 9
COMMAND_TIMED_OUT, TOOL_FAILED = 124, 125  # as timeout(1) and env(1): no status of the program that was run

MEANING = {
    0: "success",
    FAILED: "the agent answered with an error, or something could not be done",
    USAGE: "wrong arguments, or a wrong address",
    UNREACHABLE: "the agent cannot be reached, or the connection broke",
    TIMEOUT: "the agent did not answer in time",
    NOT_FOUND: "the agent does not have the command, or does not allow it",
    OUT_OF_STEP: "what answered is not an agent, or its reply is malformed",
    HOST: "an error of this machine: a file, a program, QEMU's monitor",
    MISSING: "an optional package of this tool is not installed, or too old",
    FAULT: "a bug of this tool: please report it",
    COMMAND_TIMED_OUT: "`freeze`, `exec`: the command ran longer than --timeout",
    TOOL_FAILED: "`freeze`, `exec`, `shell`: any of the errors above; every other status is the command's own",
    130: "interrupted by ctrl-C",
    143: "terminated by SIGTERM",
}


class UsageError(Exception):
    """The arguments are wrong."""


class MissingExtraError(Exception):
    """A package that this subcommand needs is not installed, or too old."""


class Terminated(BaseException):
    """SIGTERM."""


_STATUS: list[tuple[type[BaseException], int]] = [
    (UsageError, USAGE),
    (MissingExtraError, MISSING),
    (AddressError, USAGE),
    (AgentUnreachable, UNREACHABLE),
    (AgentTimeout, TIMEOUT),
    (CommandNotFound, NOT_FOUND),
    (CommandFailed, FAILED),
    (OutOfStep, OUT_OF_STEP),
    (ClientError, FAILED),
    (OSError, HOST),
]


def status(error: Exception) -> int:
    """Return the exit status for an error; FAULT for one that no subcommand is meant to raise."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), FAULT)


def sentence(error: Exception) -> str:
    """Return what to say of an error, in one line."""
    if status(error) == FAULT:
        return f"internal error, please report it: {_place(error)} (--debug shows the traceback)"
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}{notes}"
    return f"{error}{notes}"


def of_program(code: int) -> int:
    """Return the exit status for a program's return code of subprocess, as a shell has it.

    That is 128 + N for -N, a program that signal N ended; and 255 for what an exit status cannot tell.
    """
    return min(code if code >= 0 else 128 - code, 255)


def of_status(status: ExecStatus) -> int:
    """Return the exit status for the guest-exec-status of a program that has ended. Raises MalformedReply."""
    from qga.client.operations.run import returncode

    ended = {"exitcode": status.exitcode, "signal": status.signal}
    return of_program(returncode({name: number for name, number in ended.items() if number is not None}))


def markdown() -> str:
    """Return the README's table."""
    lines = [f"| {code} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(["| exit status | meaning |", "|---|---|", *lines])


def _place(error: Exception) -> str:
    """Return what was raised, and where: enough for a report."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f" in {at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else ""
    return f"{type(error).__name__}{where}: {str(error)[:200]}"
