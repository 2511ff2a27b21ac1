"""The log: lines go to the log file or stderr, and calls to syslog; nothing is written while frozen.

The rule it keeps: logging never stops the agent. It does not block on syslog, drops what cannot be written, and while
the guest's filesystems are frozen keeps the lines in memory, because a write to a frozen filesystem hangs. The one
error is a log file that cannot be opened at the start.

Levels have the names of those of QEMU's agent: debug, info, message, warning, error, critical. By default warnings
and above are shown. QEMU's agent shows warnings only with -v; here they are always shown, because they are for the
administrator (an ignored key, a start in frozen state). None is written per request, so a host cannot fill a disk.

The log of calls, a line for each command that is carried out, is ``logging.getLogger(CALLS)``, at info level: it
goes to syslog, as that of QEMU's agent does, and with -v to the log as well. If there is an audit log
(qga/agent/audit), it replaces syslog.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, TextIO

from qga.agent.service.syslog import DEV_LOG, Syslog

if TYPE_CHECKING:
    from collections.abc import Mapping

    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler

CALLS = "qga.calls"
MESSAGE = 25  # between info and warning, as G_LOG_LEVEL_MESSAGE
MAX_LINE = 8192  # characters; a raw request logged with --debug can be megabytes, and its beginning is enough
MAX_HELD = 1000  # lines kept while frozen: at most 8 MB, those of hours in an idle guest

LEVEL_NAMES = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    MESSAGE: "message",
    logging.WARNING: "warning",
    logging.ERROR: "error",
    logging.CRITICAL: "critical",
}
PRIORITIES = {  # sd-daemon(3), syslog(3)
    logging.DEBUG: 7,
    logging.INFO: 6,
    MESSAGE: 5,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}

# A request can put any text into a log line: it must not be able to forge a second one.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {9: "\t"}

logging.addLevelName(MESSAGE, "MESSAGE")


class LogError(Exception):
    """The log file cannot be opened."""


class LineFormatter(logging.Formatter):
    """The format ``<seconds>.<microseconds>: <level>: <message>``, or ``<N><level>: <message>`` for the journal.

    It takes records that went through settled(). A traceback follows, each line indented.
    """

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and after it the lines of its traceback, if it has one."""
        level = LEVEL_NAMES.get(record.levelno, record.levelname.lower())
        head = f"<{PRIORITIES.get(record.levelno, 6)}>" if self._journal else ""
        stamp = "" if self._journal else f"{record.created:.6f}: "
        lines = [f"{stamp}{level}: {record.msg}"]
        lines += ["  " + line.translate(_CONTROLS) for line in (record.exc_text or "").splitlines()]
        return "\n".join(head + line for line in lines)


class Log(logging.Handler):
    """The only handler: it passes each record to the outputs that it is for, or holds it while paused.

    Made by setup(). ``logfile`` is opened at once, or by resume() if made paused: a log file on a frozen
    filesystem must wait for the thaw.
    """

    def __init__(
        self, logfile: str | None, level: int, *, journal: bool, paused: bool, syslog: str | None = DEV_LOG
    ) -> None:
        super().__init__()
        self._logfile = logfile
        self._paused = paused
        self._held: deque[logging.LogRecord] = deque(maxlen=MAX_HELD)
        self._lost = 0
        self._main: _Lines | None = None
        self._main_level = level
        self._journal = journal
        self._syslog = None if syslog is None else Syslog(syslog)
        if not paused:
            self._main = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the outputs that it is for, or hold it while paused; the logging module calls this."""
        if self._paused:
            self._lost += len(self._held) == MAX_HELD
            self._held.append(settled(record))
        else:
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        if self._main is not None and record.levelno >= self._main_level:
            record = settled(record)
            self._main.handle(record)
        if record.name == CALLS and self._syslog is not None:
            self._syslog.send(record.created, PRIORITIES[logging.INFO], f"info: {_line(record)}")

    def call(self, line: object) -> None:
        """Write a line of the log of calls; its str() is the text.

        A line that goes only to syslog does not pass through the logging module, which takes longer.
        """
        if self._paused or self._main_level <= logging.INFO:
            logging.getLogger(CALLS).info("%s", line)
        elif self._syslog is not None and not self._syslog.absent:
            self._syslog.send(time.time(), PRIORITIES[logging.INFO], f"info: {_legible(str(line))}")

    def pause(self) -> None:
        """Hold every line from now on, up to MAX_HELD of them (the newest)."""
        self._paused = True

    def resume(self) -> None:
        """Write the lines that were held, each with its own time, and go on writing.

        If the log file was to be opened now and cannot be, the log goes to stderr, with an error line.
        """
        self._paused = False
        if self._main is None:
            try:
                self._main = self._open()
            except LogError as error:
                self._main = _Lines(sys.stderr, journal=self._journal)
                self._log(logging.ERROR, str(error))
        held, lost = self._held, self._lost
        self._held, self._lost = deque(maxlen=MAX_HELD), 0
        if lost:
            self._log(logging.WARNING, f"{lost} log lines were dropped while frozen")
        for record in held:
            self._write(record)

    def configure(self, logfile: str | None, *, verbose: bool, debug: bool) -> None:
        """Change the log file (None is stderr) and the levels after a reload, and reopen()."""
        self._logfile, self._main_level = logfile, _set_levels(verbose, debug, syslog=self._syslog is not None)
        self.reopen()

    def reopen(self) -> None:
        """Open the log file again after it was rotated; if that fails the old one stays in use, with an error line.

        While paused, resume() will open it.
        """
        old = self._main
        if old is None:
            return
        if self._paused:
            self._main = None
        else:
            try:
                self._main = self._open()
            except LogError as error:
                self._log(logging.ERROR, str(error))
                return
        old.close()

    def close(self) -> None:
        """Stop logging: remove this handler, and close the log file and the socket to syslog."""
        logging.getLogger().removeHandler(self)
        if self._main is not None:
            self._main.close()
        if self._syslog is not None:
            self._syslog.close()
        super().close()

    def _open(self) -> _Lines:
        if self._logfile is None:
            return _Lines(sys.stderr, journal=self._journal)
        try:
            file = open(self._logfile, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LogError(f"cannot open log file '{self._logfile}': {reason}") from None
        return _Lines(file, journal=False, owned=True)

    def _log(self, level: int, text: str) -> None:
        self.emit(logging.LogRecord(__name__, level, __file__, 0, text, None, None))


class _Lines(_StreamHandler):
    """An output that writes lines to a stream. One that cannot be written is lost: there is nowhere to report it."""

    def __init__(self, stream: TextIO, *, journal: bool, owned: bool = False) -> None:
        super().__init__(stream)
        self._owned = owned
        self.setFormatter(LineFormatter(journal=journal))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass

    def close(self) -> None:
        if self._owned:
            with contextlib.suppress(OSError):  # a full disk: the last line is lost
                self.stream.close()
        super().close()


def installed() -> Log | None:
    """Return the Log that setup() has installed, or None, to pause, resume and reopen it."""
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, Log)), None)


def setup(
    *,
    logfile: str | None = None,
    verbose: bool = False,
    debug: bool = False,
    paused: bool = False,
    environ: Mapping[str, str] = os.environ,
    syslog: str | None = DEV_LOG,
) -> Log:
    """Direct the logging module to ``logfile`` (None is stderr) and ``syslog`` (None is none). Raises LogError.

    ``verbose`` shows message and info lines as well, ``debug`` all. With ``paused`` it starts as after pause().
    """
    # No line shows which code logged it, and finding that out takes longer than all else.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    level = _set_levels(verbose, debug, syslog=syslog is not None)
    log = Log(logfile, level, journal=is_journal(environ), paused=paused, syslog=syslog)
    logging.getLogger().addHandler(log)
    return log


def _set_levels(verbose: bool, debug: bool, *, syslog: bool) -> int:
    """Set the levels of the loggers, and return that of the log."""
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    logging.getLogger("qga").setLevel(level)
    logging.getLogger(CALLS).setLevel(min(level, logging.INFO) if syslog else level)
    return level


def settled(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy whose ``msg`` is the final text: one line of bounded length, with control characters escaped.

    It does not refer to the objects that the record was made of.
    """
    copied = copy.copy(record)
    copied.msg, copied.args, copied.exc_info = _line(record), None, None
    if record.exc_info and not record.exc_text:
        copied.exc_text = logging.Formatter().formatException(record.exc_info)
    return copied


def _line(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # even if the format does not fit its arguments the line is logged
        text = f"{record.msg!r} {record.args!r}"
    return _legible(text)


def _legible(text: str) -> str:
    if len(text) > MAX_LINE:
        text = f"{text[:MAX_LINE]}... ({len(text)} characters)"
    return text if text.isprintable() else text.translate(_CONTROLS)


def is_journal(environ: Mapping[str, str]) -> bool:
    """Return whether stderr is the journal: $JOURNAL_STREAM names its device and inode, see systemd.exec(5)."""
    try:
        stat = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"
