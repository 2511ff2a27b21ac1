"""Which file a path of the host really names, held by descriptors so that it can be no other when it is used.

The rule it keeps: every component is opened without following it (O_PATH | O_NOFOLLOW, open(2)), and what turns out
to be a symbolic link is read from that descriptor and walked in turn, as path_resolution(7) has it. So the
resulting path is the one that was walked, and swapping a link meanwhile changes nothing. A magic link of /proc counts
as what it says. openat2(2) cannot do that: it follows links or refuses them, and does not say where they led.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from qga.agent.linux.cstring import PATH_MAX

MAX_LINKS = 40  # as the kernel

_BINARY = b"\x7fELF"
_HELD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Target:
    """A file, or the place for one. ``path`` is absolute and without links, or None where there is no such place.

    ``error`` is why it cannot be used. ``descriptor`` (O_PATH) is the file itself, None if there is none.
    """

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.path: str | None = None
        self.descriptor: int | None = None
        self.directory: int = -1
        self.name = b""
        self._held: list[int] = []

    def close(self) -> None:
        """Close all descriptors: the file's, and those of the directories that lead to it."""
        held, self._held = self._held, []
        for descriptor in held:
            os.close(descriptor)

    def place(self) -> tuple[bytes, int]:
        """Return its name and the descriptor of its directory, to be opened with O_NOFOLLOW. Raises OSError."""
        if self.error is not None:
            raise self.error
        return self.name, self.directory

    @property
    def executable(self) -> bool:
        """Whether it is a regular file that this process may execute."""
        return (
            self.descriptor is not None
            and stat.S_ISREG(os.fstat(self.descriptor).st_mode)
            and os.access(self.as_path, os.X_OK)
        )

    def for_interpreter(self) -> tuple[int, ...]:
        """Return the descriptors that the program must inherit: an interpreter opens its script by ``as_path``."""
        if self.descriptor is None:
            return ()
        try:
            with open(self.as_path, "rb") as file:
                return () if file.read(len(_BINARY)) == _BINARY else (self.descriptor,)
        except OSError:  # it may be executed, and not read
            return (self.descriptor,)

    @property
    def as_path(self) -> bytes:
        """A path to the file itself, wherever it is by now, for execve(2) and access(2): proc(5)."""
        return b"/proc/self/fd/%d" % self.descriptor if self.descriptor is not None else b""


def resolve(path: bytes) -> Target:
    """Walk a path as the kernel does. What is missing at its end is the place for a file. Never raises OSError."""
    target = Target()
    try:
        _walk(target, path)
    except OSError as error:
        target.error = error
    return target


def _walk(target: Target, path: bytes) -> None:
    """Walk a path, and set the file that it leads to, or the place for one, in ``target``.

    Raises OSError; the target's ``path`` is set then too, if it is known.
    """
    if not path or len(path) >= PATH_MAX:
        code = errno.ENAMETOOLONG if path else errno.ENOENT
        raise OSError(code, os.strerror(code))
    held = target._held
    held.append(os.open(b"/", _HELD | os.O_DIRECTORY))
    names = [b""]  # of what is held, from / down
    ahead = (path if path.startswith(b"/") else os.getcwdb() + b"/" + path).split(b"/")[::-1]
    links = 0
    while ahead:
        part = ahead.pop()
        if part in (b"", b".", b".."):
            if not stat.S_ISDIR(os.fstat(held[-1]).st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if part == b".." and len(held) > 1:
                os.close(held.pop())
                names.pop()
            continue
        try:
            descriptor = _hold(part, held[-1], way=bool(ahead))
        except OSError as error:
            rest = [part, *ahead[::-1]]
            if b".." not in rest:
                target.path = _text([*names, *(name for name in rest if name not in (b"", b"."))])
            if error.errno != errno.ENOENT or len(rest) > 1:
                raise
            target.directory, target.name = held[-1], part
            return
        if not stat.S_ISLNK(os.fstat(descriptor).st_mode):
            held.append(descriptor)
            names.append(part)
            continue
        try:
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            where = os.readlink(b"", dir_fd=descriptor)
        finally:
            os.close(descriptor)
        ahead += where.split(b"/")[::-1]
        if where.startswith(b"/"):
            while len(held) > 1:
                os.close(held.pop())
            del names[1:]
    target.path = _text(names)
    target.descriptor = held[-1]
    target.directory, target.name = (held[-2], names[-1]) if len(held) > 1 else (held[-1], b".")


def _hold(name: bytes, directory: int, *, way: bool) -> int:
    """Open what has this name, be it a link. A directory on the ``way`` is opened so that it is mounted on demand."""
    if way:
        with contextlib.suppress(NotADirectoryError):
            return os.open(name, _HELD | os.O_DIRECTORY, dir_fd=directory)
    return os.open(name, _HELD, dir_fd=directory)


def _text(names: list[bytes]) -> str:
    return b"/".join(names).decode(errors="surrogateescape") or "/"
