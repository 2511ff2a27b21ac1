"""The destinations of the audit log: a file (filesink.py), the journal (journal.py), or none.

The rule that a sink keeps: a write takes the whole record or raises OSError, at once; BlockingIOError where there is
no room now.
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
    """Return journal, off, or a path. The default is journal for a service of systemd: systemd.exec(5)."""
    if setting is not None:
        return setting
    service = is_journal(environ) or environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    return "journal" if service and os.path.exists(JOURNAL) else "off"


class Moved(OSError):  # noqa: N818  it is not an error of the agent
    """The file was removed, renamed or replaced; ``gone`` records that were written meanwhile are lost with it."""

    def __init__(self, gone: int) -> None:
        super().__init__(errno.ESTALE, "it was removed, renamed or replaced")
        self.gone = gone


class Later(BlockingIOError):  # noqa: N818  it is not an error of the agent
    """Nothing more may be written for so many ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.seconds = seconds


class Sink(Protocol):
    """What a destination can do; ``name`` is its name in log lines."""

    name: str

    def open(self) -> None:
        """Open it, or open it again after a rotation. Raises OSError."""

    def fileno(self) -> int | None:
        """Return the descriptor that becomes writable once there is room again; None while it is not open."""

    def write(self, record: Record) -> None:
        """Write a record. Raises also Moved, where nothing was written, and EMSGSIZE for what can never be."""

    def hurry(self) -> None:
        """Allow some more records before Later is raised, as the agent ends."""

    def close(self) -> None: ...
