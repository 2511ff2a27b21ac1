"""tail: the last lines of a guest's file, and what is added to it: also after it was truncated or replaced."""

from __future__ import annotations

import argparse
import collections
import sys
import time

from qga.client.client import Client
from qga.client.errors import ClientError, CommandFailed, CommandNotFound
from qga.client.operations.requests import limits
from qga.tool import output
from qga.tool.remote.exec import Follower
from qga.tool.units import Lines

_PAUSE = 0.25  # seconds between two looks
_BY_NAME = 4  # looks between two at what is there by this name now


def tail(client: Client, options: argparse.Namespace) -> None:
    path = options.path.removeprefix(":")
    file = _opened(client, path, retry=options.retry)
    try:
        file.begin(options.lines)
        while file.look():
            pass
        while options.follow or options.retry:
            file.follow()
            time.sleep(_PAUSE)
    finally:
        file.close()


class Tail(Follower):
    """``begin`` finds the first line that is wanted, ``follow`` writes what has come since, again and again."""

    def __init__(self, client: Client, path: str) -> None:
        super().__init__(client, path, output.content(), chunk=client.carry_out(limits()).read)
        self._path = path
        self._sized = True  # whether its size says where it ends: not so in /proc and /sys
        self._gone = False
        self._looks = 0

    def begin(self, wanted: Lines) -> None:
        try:
            size = self._size(self._handle)
        except CommandNotFound:
            raise
        except CommandFailed:  # many files of /proc refuse it
            size = 0
        self._sized = bool(size and self._at(size - 1))
        if wanted.from_start:
            self._offset = self._start_of(wanted.number)
        elif self._sized:
            self._offset = self._last(wanted.number, size)
        else:
            self._offset = self._last_by_reading(wanted.number)
            self._sized = not self._at(0)  # empty, and may grow

    def follow(self) -> None:
        """While filesystems are frozen agents refuse all of this: the next look may do."""
        try:
            self._look_at_size()
            self.look()
            self._looks += 1
            if self._looks % _BY_NAME == 0:
                self._look_at_name()
        except CommandNotFound as error:
            if not error.disabled:
                raise

    def _look_at_size(self) -> None:
        if self._sized and self._size(self._handle) < self._offset:
            output.note(f"{self._path}: file truncated")
            self._offset = 0

    def _look_at_name(self) -> None:
        """Files only grow, or are truncated: what has now another size than ours had and has is another file."""
        if not self._sized:
            return
        try:
            other = self._client.guest_file_open(self._path, "r")
        except CommandNotFound:
            raise
        except CommandFailed as error:
            if not self._gone:
                output.note(f"{self._path} has become inaccessible: {error.desc}")
            self._gone = True
            return
        ours = other
        try:
            before, theirs, after = (self._size(handle) for handle in (self._handle, other, self._handle))
            if after >= before and not before <= theirs <= after:
                while self.look():  # what was written to the old one last
                    pass
                output.note(f"{self._path} has been replaced; following new file")
                ours, self._handle, self._offset = self._handle, other, 0
            self._gone = False
        finally:
            self._close(ours)

    def _last(self, count: int, size: int) -> int:
        """Where the last ``count`` lines begin, read backwards. A last line may lack its end."""
        missing = count + (self._at(size - 1) == b"\n")
        end = size
        while end and count:
            start = max(0, end - self._chunk)
            data = self._between(start, end)
            found = data.count(b"\n")
            if found >= missing:
                at = len(data)
                for _ in range(missing):
                    at = data.rindex(b"\n", 0, at)
                return start + at + 1
            missing -= found
            end = start
        return end

    def _last_by_reading(self, count: int) -> int:
        """The same of a file that does not say its size."""
        starts = collections.deque([0], min(count, sys.maxsize - 1) + 1)
        offset = 0
        while data := self._at(offset, self._chunk):
            at = -1
            while (at := data.find(b"\n", at + 1)) >= 0:
                starts.append(offset + at + 1)
            offset += len(data)
        if starts[-1] == offset:  # behind the end of the last line
            starts.pop()
        elif len(starts) > count:
            starts.popleft()
        return starts[0] if starts else offset

    def _start_of(self, number: int) -> int:
        """Where line ``number`` begins, the first being 1."""
        left, offset = number - 1, 0
        while left > 0 and (data := self._at(offset, self._chunk)):
            found = data.count(b"\n")
            if found >= left:
                at = -1
                for _ in range(left):
                    at = data.index(b"\n", at + 1)
                return offset + at + 1
            left -= found
            offset += len(data)
        return offset

    def _between(self, start: int, end: int) -> bytes:
        pieces = []
        while start < end:
            piece = self._at(start, end - start)
            if not piece:
                raise ClientError(f"{self._path} became shorter while it was read")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)


def _opened(client: Client, path: str, *, retry: bool) -> Tail:
    waited = False
    while True:
        try:
            file = Tail(client, path)
        except CommandNotFound:
            raise
        except CommandFailed as error:
            if not retry:
                raise
            if not waited:
                output.note(f"{path} cannot be opened: {error.desc}")
            waited = True
            time.sleep(_PAUSE)
            continue
        if waited:
            output.note(f"{path} has appeared; following new file")
        return file
