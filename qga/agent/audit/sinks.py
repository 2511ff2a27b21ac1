"""Where the audit log goes: a file (filesink.py), the journal (journal.py), or nowhere.

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
    """journal, off, or a path: by default journal for what systemd has started as a service; systemd.exec(5)."""
    if setting is not None:
        return setting
    service = is_journal(environ) or environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    return "journal" if service and os.path.exists(JOURNAL) else "off"


class Moved(OSError):  # noqa: N818  what has happened
    """The file was removed, renamed or replaced; ``gone`` records that were written meanwhile are gone with it."""

    def __init__(self, gone: int) -> None:
        super().__init__(errno.ESTALE, "it was removed, renamed or replaced")
        self.gone = gone


class Later(BlockingIOError):  # noqa: N818  what to do
    """Nothing more may be written for so many ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.seconds = seconds


class Sink(Protocol):
    name: str

    def open(self) -> None:
        """Anew, after a rotation too. Raises OSError."""

    def fileno(self) -> int | None:
        """What gets writable once there is room again; None while it is not open."""

    def write(self, record: Record) -> None:
        """Raises Moved too, for which nothing was written; and EMSGSIZE for a record that can never be."""

    def hurry(self) -> None:
        """Something more may be written before it raises Later: the agent ends."""

    def close(self) -> None: ...
