"""The errors that a peer can get as a reply. The class of an error tells its wire form and whose fault it is.

The rule they keep: handlers and decoders raise errors; only the dispatcher turns an error into a reply.
"""

from __future__ import annotations


class QgaError(Exception):
    """An error with a wire form: ``{"class": error_class, "desc": str(error)}``."""

    error_class = "GenericError"

    def wire(self) -> dict[str, str]:
        """Return the value of a reply's member ``error``: class and description."""
        return {"class": self.error_class, "desc": str(self)}


class RequestError(QgaError):
    """The peer sent something that is not a valid request: bad JSON, a bad envelope or bad arguments.

    ``head`` is the beginning of the invalid JSON, for the audit log's hash. ``flush`` is True for a single byte 0xFF
    between two requests, with which a client ends a request that an earlier client may have left incomplete.
    """

    head = b""
    flush = False


class CommandNotFound(QgaError):  # noqa: N818  QEMU's name of the class
    """The command is unknown or may not run now; ``rule`` names what forbids it, for the audit log."""

    error_class = "CommandNotFound"

    def __init__(self, text: str, rule: str | None = None) -> None:
        super().__init__(text)
        self.rule = rule


class CommandError(QgaError):
    """The request was valid, but the guest could not carry it out."""


def describe_bug(error: Exception) -> str:
    """Return the text of the error for a host, about an exception that is a fault of the agent or of its files."""
    if isinstance(error, ImportError):
        return (
            f"the agent cannot load its module {error.name}: its files, or Python's, were removed or replaced while "
            "it ran; it has to be restarted"
        )
    return f"internal error: {type(error).__name__}: {error}"
