"""The destinations of the audit log: a file (filesink.py), the journal (journal.py), or none.

The rule that a sink keeps: a write takes the whole record or raises OSError, and never waits; it raises
BlockingIOError where there is no room now.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Protocol

from qga.agent.service.log import is_journal

JOURNAL = "/run/systemd/journal/socket"

Record = Mapping[str, object]


def destination(setting: str | None, environ: Mapping[str, str]) -> str:
    """Return where the audit log goes: "journal", "off", or a path.

    By default, an agent started by systemd writes to the journal: systemd.exec(5), $SYSTEMD_EXEC_PID.
    """
    if setting is not None:
        return setting
    service = is_journal(environ) or environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    return "journal" if service and os.path.exists(JOURNAL) else "off"


class Moved(OSError):  # noqa: N818  it is not an error of the agent
    """The file was removed, renamed or replaced; ``gone`` records that were written meanwhile are lost."""

    def __init__(self, gone: int) -> None:
        super().__init__(errno.ESTALE, "it was removed, renamed or replaced")
        self.gone = gone


class Later(BlockingIOError):  # noqa: N818  it is not an error of the agent
    """The rate limit leaves no room: try again in so many ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.seconds = seconds


class Sink(Protocol):
    """A destination of records; ``name`` is its name in log lines."""

    name: str

    def open(self) -> None:
        """Open the destination, again if it is open. Raises OSError."""

    def fileno(self) -> int | None:
        """Return the descriptor that becomes writable once there is room again; None while it is not open."""

    def write(self, record: Record) -> None:
        """Write a record, and open the destination first if it is not open.

        Raises OSError: BlockingIOError or Later where there is no room now, Moved where the file has gone (nothing
        was written), EMSGSIZE for a record that can never be written.
        """

    def hurry(self) -> None:
        """Allow some more records before Later is raised, as the agent ends."""

    def close(self) -> None:
        """Close the destination, if it is open; the next write opens it again."""
