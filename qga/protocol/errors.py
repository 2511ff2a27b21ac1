"""What can reach the peer as an error. Each error knows its own wire form and whose fault it is.

Handlers and decoders raise; only the dispatcher turns an error into a reply.
"""

from __future__ import annotations


class QgaError(Exception):
    """An error with a wire form: ``{"class": error_class, "desc": str(error)}``."""

    error_class = "GenericError"

    def wire(self) -> dict[str, str]:
        return {"class": self.error_class, "desc": str(self)}


class RequestError(QgaError):
    """The peer sent something that is no valid request: bad JSON, a bad envelope or bad arguments.

    ``head`` is the beginning of what is no JSON, for the audit log's hash. ``flush``: it was just the byte 0xFF
    between two requests, by which a client ends whatever may be left half-said.
    """

    head = b""
    flush = False


class CommandNotFound(QgaError):  # noqa: N818  QEMU's name of the class
    """The command is unknown, or may not run now: ``rule`` is the owner's that forbids it, for the audit log."""

    error_class = "CommandNotFound"

    def __init__(self, text: str, rule: str | None = None) -> None:
        super().__init__(text)
        self.rule = rule


class CommandError(QgaError):
    """The request was valid, but the guest could not carry it out."""
