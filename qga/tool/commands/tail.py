"""tail: the last lines of a file of the guest, and what is added to it: also after it was truncated or replaced."""

from __future__ import annotations

import argparse
import time

from qga.client.client import Client
from qga.client.errors import CommandFailed, CommandNotFound
from qga.client.operations.requests import limits
from qga.tool import output
from qga.tool.commands import lines
from qga.tool.remote.follow import Follower, close, size
from qga.tool.units import Lines

_PAUSE = 0.25  # seconds between two rounds
_ROUNDS = 4  # after which the file of this name is opened again, to see whether it is another


def tail(client: Client, options: argparse.Namespace) -> None:
    """Print them; with ``options.follow`` or ``options.retry``, until interrupted."""
    path = options.path.removeprefix(":")
    file = _opened(client, path, retry=options.retry)
    try:
        file.begin(options.lines)
        while file.copy():
            pass
        while options.follow or options.retry:
            file.follow()
            time.sleep(_PAUSE)
    finally:
        file.close()


class Tail(Follower):
    """``begin`` finds the first line that is wanted, ``follow`` prints what was added since, again and again."""

    def __init__(self, client: Client, path: str) -> None:
        super().__init__(client, path, output.content(), chunk=client.carry_out(limits()).read)
        self._has_size = True  # whether its size says where it ends: not so in /proc and /sys
        self._is_gone = False
        self._rounds = 0

    def begin(self, wanted: Lines) -> None:
        """Go to the first line that is wanted."""
        try:
            end = size(self.client, self.handle)
        except CommandNotFound:
            raise
        except CommandFailed:  # many files of /proc refuse it
            end = 0
        self._has_size = bool(end and self.at(end - 1))
        if wanted.from_start:
            self.offset = lines.start_of(self, wanted.number)
        elif self._has_size:
            self.offset = lines.last(self, wanted.number, end)
        else:
            self.offset = lines.last_by_reading(self, wanted.number)
            self._has_size = not self.at(0)  # empty, and may grow

    def follow(self) -> None:
        """Print what was added. While filesystems are frozen agents refuse all of this: the next round may do."""
        try:
            self._check_size()
            self.copy()
            self._rounds += 1
            if self._rounds % _ROUNDS == 0:
                self._check_name()
        except CommandNotFound as error:
            if not error.disabled:
                raise

    def _check_size(self) -> None:
        if self._has_size and size(self.client, self.handle) < self.offset:
            output.note(f"{self.path}: file truncated")
            self.offset = 0

    def _check_name(self) -> None:
        """Go on in another file if this name is now another's.

        Files only grow, or are truncated: one whose size is not between two of ours, one after the other, is another.
        """
        if not self._has_size:
            return
        try:
            other = self.client.guest_file_open(self.path, "r")
        except CommandNotFound:
            raise
        except CommandFailed as error:
            if not self._is_gone:
                output.note(f"{self.path} has become inaccessible: {error.desc}")
            self._is_gone = True
            return
        unused = other
        try:
            before, theirs, after = (size(self.client, handle) for handle in (self.handle, other, self.handle))
            if after >= before and not before <= theirs <= after:
                while self.copy():  # what was written to the old one last
                    pass
                output.note(f"{self.path} has been replaced; following new file")
                unused, self.handle, self.offset = self.handle, other, 0
            self._is_gone = False
        finally:
            close(self.client, unused)


def _opened(client: Client, path: str, *, retry: bool) -> Tail:
    """Return the file; with ``retry``, once it is there."""
    has_waited = False
    while True:
        try:
            file = Tail(client, path)
        except CommandNotFound:
            raise
        except CommandFailed as error:
            if not retry:
                raise
            if not has_waited:
                output.note(f"{path} cannot be opened: {error.desc}")
            has_waited = True
            time.sleep(_PAUSE)
            continue
        if has_waited:
            output.note(f"{path} has appeared; following new file")
        return file
