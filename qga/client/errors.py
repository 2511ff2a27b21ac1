"""What can go wrong between a program of the host and an agent; each error is one sentence."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors. ``command``: the command that failed, None where nothing had been sent yet."""

    def __init__(self, text: str, *, command: str | None = None) -> None:
        super().__init__(text)
        self.command = command


class AddressError(ClientError):
    """The address is not valid, or needs a transport that this machine does not have."""


class AgentUnreachable(ClientError):  # noqa: N818
    """The agent cannot be reached, or the connection broke: the command may or may not have been carried out."""


class AgentTimeout(ClientError):  # noqa: N818
    """The agent did not answer in time: the command may still be carried out."""


class OutOfStep(ClientError):  # noqa: N818
    """What came is not a reply of an agent: another program, a console, or a broken stream."""


class MalformedReply(OutOfStep):
    """The reply does not have the shape that the schema gives the command, or contradicts itself.

    The connection is in step all the same: a new one would bring the same.
    """

    def __init__(self, command: str, wrong: str) -> None:
        super().__init__(f"{command}: the agent's reply is wrong: {wrong}", command=command)
        self.command: str = command


class CommandFailed(ClientError):  # noqa: N818
    """The agent answered with an error; ``desc`` is what it said, ``error_class`` QEMU's class."""

    def __init__(self, command: str, desc: str, error_class: str = "GenericError") -> None:
        super().__init__(f"{command}: {desc}", command=command)
        self.command: str = command
        self.desc = desc
        self.error_class = error_class


class CommandNotFound(CommandFailed):
    """The agent does not have the command, or with ``disabled`` does not allow it now."""

    def __init__(self, command: str, desc: str, error_class: str = "CommandNotFound") -> None:
        super().__init__(command, desc, error_class)
        self.disabled = "has been disabled" in desc
        why = (
            "the agent does not allow it now: it is blocked by configuration, or filesystems are frozen"
            if self.disabled
            else "the agent does not have this command"
        )
        self.args = (f"{command}: {why}",)


MAX_DESC = 4096  # characters of what a guest says of an error


def failure(command: str, desc: str, error_class: str) -> CommandFailed:
    """Return the error for an agent's answer. Old agents call a blocked command CommandDisabled."""
    if len(desc) > MAX_DESC:
        desc = desc[:MAX_DESC] + "…"
    missing = error_class in ("CommandNotFound", "CommandDisabled")
    return (CommandNotFound if missing else CommandFailed)(command, desc, error_class)
