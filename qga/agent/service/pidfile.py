"""The pid file: a locked file that shows which process runs, and keeps a second one from starting.

The rule it keeps: the lock decides, never the file. A file left behind does not prevent a start, a file whose lock is
held is neither removed nor changed, and only the process that took the lock removes the file.

The lock is an open file description lock, fcntl(2) F_OFD_SETLK. It and the ordinary record lock of QEMU's agent
exclude each other. Unlike a record lock, it is not lost when this process closes another descriptor of the file, as
it does after the host has read the pid file through guest-file-open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

# struct flock: l_type, l_whence, l_start, l_len, l_pid; start and length 0 cover the whole file, and l_pid
# must be 0 for this kind of lock.
_WRITE_LOCK = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_HELD = (errno.EAGAIN, errno.EACCES)  # fcntl(2): it depends on the filesystem which of the two


class PidFileError(Exception):
    """The pid file cannot be made, or another process holds it."""


class PidFile:
    """The pid file at ``path``: ``<pid>\\n``, mode 0600, locked from acquire() to release() by this process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._owner = 0

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Lock the file and write the process id of this process. Raises PidFileError."""
        try:
            self._descriptor, self._owner = self._lock(), os.getpid()
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, b"%d\n" % self._owner)
        except OSError as error:
            self.release()
            raise PidFileError(f"Cannot write pid file '{self.path}': {error.strerror}") from None

    def release(self) -> None:
        """Remove the file and release the lock, if this process took it; a child that inherited it does nothing."""
        if self._descriptor is None or self._owner != os.getpid():
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            if self._is_at_path(descriptor):
                os.unlink(self.path)
        except OSError:
            pass  # a read-only or vanished directory: a file without a lock does not prevent a start
        os.close(descriptor)

    def __enter__(self) -> PidFile:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _lock(self) -> int:
        """Open and lock the file, and again if its last owner removed it between the two. Raises PidFileError."""
        while True:
            descriptor = os.open(self.path, _OPEN_FLAGS, 0o600)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                # It is emptied, and removed later, so it must be a regular file: never a device that a typo named.
                os.close(descriptor)
                raise PidFileError(f"Cannot write pid file '{self.path}': it is not a regular file")
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WRITE_LOCK)
                if self._is_at_path(descriptor):
                    return descriptor
            except OSError as error:
                text = os.strerror(errno.EAGAIN) if error.errno in _HELD else error.strerror
                holder = _holder(descriptor) if error.errno in _HELD else ""
                os.close(descriptor)
                raise PidFileError(f"Cannot lock pid file: {text} ('{self.path}'{holder})") from None
            os.close(descriptor)

    def _is_at_path(self, descriptor: int) -> bool:
        """Return whether the path still leads to the file of this descriptor."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


def _holder(descriptor: int) -> str:
    """Return, for an error, which process holds the lock, by the content of the file."""
    pid = os.pread(descriptor, 20, 0).strip()
    return f" is held by process {int(pid)}" if pid.isdigit() else " is held by another process"
