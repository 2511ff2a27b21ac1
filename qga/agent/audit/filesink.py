"""The audit log in a file: one JSON object on each line.

The rule it keeps: the records are in the configured file, and each of its lines is a whole record. So while records
are written, the sink checks once a second that the file is still at its path; it follows no symbolic link; and it
removes a line that a full disk has cut short.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from qga.agent.audit.sinks import Moved, Record
from qga.protocol.wire import encode

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class FileSink:
    """A sink that appends to a file; a file that it creates can be read by the agent's user only."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._descriptor: int | None = None
        self._identity = (0, 0)  # its device and inode
        self._type = 0  # of the file that was opened first: one of another type is refused
        self._torn = False  # the file ends in the middle of a line
        self._second, self._stamp = -1, ""
        self._unseen = 0  # records since the file was last seen in its place

    def fileno(self) -> int | None:
        """Return the descriptor of the file, or None while it is not open."""
        return self._descriptor

    def open(self) -> None:
        """Open the file at the path, or open it again; create it if it does not exist.

        Raises OSError, also where the path is a symbolic link or leads to a file of another type than before.
        """
        self.close()
        try:
            descriptor = os.open(self.name, _FLAGS, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed") from None
            raise
        status = os.fstat(descriptor)
        if self._type not in (0, stat.S_IFMT(status.st_mode)):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "a file of another type has replaced it")
        self._descriptor = descriptor
        self._identity, self._type = (status.st_dev, status.st_ino), stat.S_IFMT(status.st_mode)
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        self._torn = size > 0 and not _ends_line(descriptor, size)
        self._unseen = 0

    def write(self, record: Record) -> None:
        """Append a record as one line; open the file first if it is not open.

        Raises Moved if the file is not at its path any more, BlockingIOError where a pipe or device is full, and
        any other OSError of the write. What was written of a line is then removed again.
        """
        at = record["time"]
        assert isinstance(at, float)
        if int(at) != self._second:
            self._second, self._stamp = int(at), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
            if self._descriptor is not None:
                self._check_place()
        if self._descriptor is None:
            self.open()
        assert self._descriptor is not None
        line = encode(self._timed(record, at))
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._descriptor, line)
        except BlockingIOError:
            raise
        except OSError:
            self.close()  # the next write opens it again: by then another file may be at its path
            raise
        if written < len(line):
            self._take_back(written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False
        self._unseen += 1

    def hurry(self) -> None:
        """Do nothing: a file has no rate limit."""

    def close(self) -> None:
        """Close the file, if it is open; the next write opens it again. An error is ignored."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _check_place(self) -> None:
        """Close the file and raise Moved if it is no longer the file at its path."""
        assert self._descriptor is not None
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(self.name)
            if (status.st_dev, status.st_ino) == self._identity:
                self._unseen = 0
                return
        removed = os.fstat(self._descriptor).st_nlink == 0
        self.close()
        raise Moved(self._unseen if removed else 0)

    def _take_back(self, written: int) -> None:
        """Remove the beginning of a line that did not fit; if that fails the next record ends the line."""
        assert self._descriptor is not None
        try:
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if os.fstat(self._descriptor).st_size == end:  # nobody has appended since
                os.ftruncate(self._descriptor, end - written)
                return
        except OSError:  # a device, or a file that can only grow: chattr(1), attribute a
            pass
        self._torn = True

    def _timed(self, record: Record, at: float) -> Record:
        """Return the record with its time in ISO 8601, UTC, and its duration rounded to microseconds.

        The text of the time up to the second is made once a second.
        """
        timed = {**record, "time": f"{self._stamp}.{int(at % 1 * 1e6):06d}Z"}
        if "seconds" in timed:
            timed["seconds"] = round(timed["seconds"], 6)  # type: ignore[call-overload]
        return timed


def _ends_line(descriptor: int, size: int) -> bool:
    """Return whether the file's last byte is a newline, as it may not be after a crash.

    Returns False if the file cannot be read.
    """
    with contextlib.suppress(OSError):
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(reading, 1, size - 1) == b"\n"
        finally:
            os.close(reading)
    return False
