"""A user's authorized SSH keys: ~/.ssh/authorized_keys, see sshd(8).

All work on the files is done as the user, and no symbolic link is followed out of the home: no matter what a user
puts there, the agent reads and writes nothing that the user could not. So it also works in homes where root may do
nothing (NFS), and sees the file as sshd(8) does, which reads it as the user too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pwd import struct_passwd

from qga.agent.linux.host import Host
from qga.protocol.errors import CommandError

MAX_SIZE = 1024 * 1024  # bytes of a file: some thousands of keys; a larger one is not a list of keys

_KEYS = "authorized_keys"


def parse_keys(data: bytes) -> list[str]:
    """Return the lines that are neither blank nor a comment, without surrounding space."""
    lines = (line.strip().decode(errors="replace") for line in data.split(b"\n"))
    return [line for line in lines if line and not line.startswith("#")]


def with_keys(data: bytes, keys: Iterable[bytes]) -> bytes:
    """Return the file with each key appended that is not one of its lines yet."""
    lines = _lines(data)
    known = set(lines)
    added = (key for key in dict.fromkeys(keys) if key not in known)
    return _file([*lines, *added])


def without_keys(data: bytes, keys: Iterable[bytes]) -> bytes:
    """Return the file without the lines that are exactly one of the keys."""
    unwanted = set(keys)
    return _file(line for line in _lines(data) if line not in unwanted)


def list_keys(host: Host, user: struct_passwd) -> list[str]:
    """Return the keys of a user. Raises CommandError, also where the file does not exist."""
    home = _Home(host, user)
    return parse_keys(host.run_as(user, home.read))


def add_keys(host: Host, user: struct_passwd, keys: Iterable[bytes], *, reset: bool) -> None:
    """Add keys, and make directory and file where they are missing. ``reset``: first drop what the file has.

    Raises CommandError.
    """
    home = _Home(host, user)
    host.run_as(user, partial(home.add, lambda data: with_keys(b"" if reset else data, keys), read=not reset))


def remove_keys(host: Host, user: struct_passwd, keys: Iterable[bytes]) -> None:
    """Remove keys; where the file does not exist, nothing has to be done. Raises CommandError."""
    home = _Home(host, user)
    host.run_as(user, partial(home.remove, lambda data: without_keys(data, keys)))


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _file(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


class _Home:
    """A user's home, worked in as the user. Paths are those of the guest; ``_real`` is where .ssh really lies."""

    def __init__(self, host: Host, user: struct_passwd) -> None:
        self._directory = f"{user.pw_dir.rstrip('/')}/.ssh"
        self._path = f"{self._directory}/{_KEYS}"
        self._real = host.path(self._directory)

    def read(self) -> bytes:
        with self._reading(), _opened(self._real) as directory:
            return _read(directory)

    def add(self, edit: Callable[[bytes], bytes], read: bool) -> bytes:
        with _failing(f"failed to create directory '{self._directory}'"), contextlib.suppress(FileExistsError):
            os.mkdir(self._real, 0o700)
        with self._reading(), _opened(self._real) as directory:
            data = _read(directory) if _exists(directory) and read else b""
            self._replace(directory, edit(data))
        return b""

    def remove(self, edit: Callable[[bytes], bytes]) -> bytes:
        with self._reading(), contextlib.suppress(FileNotFoundError), _opened(self._real) as directory:
            self._replace(directory, edit(_read(directory)))
        return b""

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        return _failing(f"failed to read '{self._path}': Failed to open file “{self._path}”")

    def _replace(self, directory: int, data: bytes) -> None:
        with _failing(f"failed to write to '{self._path}'"):
            _replace(directory, data)


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Turn an OSError into a CommandError that says what failed."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{what}: {error.strerror}") from error


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """Give a descriptor of ~/.ssh, which must not be a symbolic link. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        if os.path.islink(path):
            raise OSError(errno.ELOOP, "its directory is a symbolic link") from None
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _exists(directory: int) -> bool:
    """Return whether the file exists. Raises OSError, also where it is not a regular file."""
    try:
        mode = os.stat(_KEYS, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "it is a symbolic link")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return True


def _read(directory: int) -> bytes:
    """Return the file's content. Raises OSError. The flags of open(2) see to it that a user may swap it just now."""
    _exists(directory)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(_KEYS, flags, dir_fd=directory)
    try:
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_SIZE + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_SIZE:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_SIZE} bytes")
    return data


def _replace(directory: int, data: bytes) -> None:
    """Write a new file and put it in the place of the old one, in one step. Raises OSError."""
    if len(data) > MAX_SIZE:
        raise OSError(errno.EFBIG, f"it would be larger than {MAX_SIZE} bytes")
    temporary = f".{_KEYS}.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # regardless of the directory's default ACL
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, _KEYS, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    with contextlib.suppress(OSError):  # not every filesystem can; the file is there all the same
        os.fsync(directory)
