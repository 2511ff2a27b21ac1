"""A directory tree on this machine that is written as a guest lists it, and never out of its root.

Every directory below the root is opened by its name in the one above it, and no symbolic link is followed: neither
one that an earlier copy has made because the guest listed it, nor one that is put there meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from qga.client.errors import ClientError
from qga.client.operations import kinds, parts

_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o700  # of a directory until all is in it


class LocalTree:
    """``path`` is its user's own choice, and its links are followed; with ``name``, the root is that name in it.

    What is not there is made. A link of that name is not followed. Names of methods are those of ``TreeEntry``.
    """

    def __init__(self, path: str, name: str = "") -> None:
        self.path = os.path.join(path, name) if name else path
        self._is_users = not name and os.path.isdir(path)
        os.makedirs(path, _PRIVATE, exist_ok=True)
        self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if name:
            above = self._root
            try:
                self._root = self._made(above, os.fsencode(name), self.path)
            finally:
                os.close(above)
        parts.tidy(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._root)

    def shown(self, name: str) -> str:
        """Return the path of an entry, for messages."""
        return os.path.join(self.path, name) if name else self.path

    def make_directory(self, name: str) -> None:
        """Make a directory, or take the one that is there; it is private until ``settle``."""
        if name:
            with parts.named(self.shown(name)), self._parent(name) as (above, last):
                made = self._made(above, last, self.shown(name))
            try:
                parts.tidy(made)
            finally:
                os.close(made)

    def make_link(self, name: str, text: str) -> None:
        """Make a symbolic link, in place of a file or link that is there. Its ``text`` may be anything."""
        with parts.named(self.shown(name)), self.opened_parent(name) as (above, last):
            parts.Target(above, last, self.shown(name)).link(os.fsdecode(_encoded(text)))

    def settle(self, name: str, mode: int, modified: int, keep_setuid: bool) -> None:
        """Give a directory its permissions and time of change; but not the root that was typed and was there.

        Where its setuid and setgid bits are not asked for, they are those that this machine gave it.
        """
        if self._is_users and not name:
            return
        with parts.named(self.shown(name)), self._directory(name) as walked:
            here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=walked)
            try:
                special = 0 if keep_setuid else stat.S_IMODE(os.fstat(here).st_mode) & ~0o777
                os.fchmod(here, kinds.permissions(stat.S_IFDIR | mode, keep_setuid) | special)
                os.utime(here, ns=(modified, modified))
            finally:
                os.close(here)

    @contextlib.contextmanager
    def opened_parent(self, name: str) -> Iterator[tuple[int, str]]:
        """Give a descriptor of the directory that it is in, and its name there."""
        with self._parent(name) as (above, last):
            yield above, os.fsdecode(last)

    @contextlib.contextmanager
    def _parent(self, name: str) -> Iterator[tuple[int, bytes]]:
        inside, last = posixpath.split(name)
        with self._directory(inside) as above:
            yield above, _encoded(last)

    @contextlib.contextmanager
    def _directory(self, name: str) -> Iterator[int]:
        here = os.dup(self._root)
        try:
            walked: list[str] = []
            for part in name.split("/") if name else ():
                walked.append(part)
                above = here
                here = self._opened(above, _encoded(part), self.shown("/".join(walked)))
                os.close(above)
            yield here
        finally:
            os.close(here)

    def _made(self, above: int, name: bytes, shown: str) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, _PRIVATE, dir_fd=above)
        return self._opened(above, name, shown)

    def _opened(self, above: int, name: bytes, shown: str) -> int:
        """Return a descriptor of a directory. Raises ClientError for what is not one."""
        try:
            return os.open(name, _WALK, dir_fd=above)
        except NotADirectoryError:
            found = kinds.name(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
            why = "what the guest has in it would be written outside the target, or replace this"
            raise ClientError(f"{shown} is {found}: expected a directory: {why}") from None


def _encoded(name: str) -> bytes:
    """Return the bytes that the guest sent for a name, whatever this machine's locale is."""
    return name.encode(errors="surrogateescape")
