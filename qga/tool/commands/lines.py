"""Where lines begin in a file of the guest, by reading no more of it than that takes."""

from __future__ import annotations

import collections
import sys

from qga.client.errors import ClientError
from qga.tool.remote.follow import Follower


def start_of(file: Follower, number: int) -> int:
    """Return the offset where line ``number`` begins, the first being 1; the end if there are fewer."""
    left, offset = number - 1, 0
    while left > 0 and (data := file.at(offset, file.chunk)):
        found = data.count(b"\n")
        if found >= left:
            at = -1
            for _ in range(left):
                at = data.index(b"\n", at + 1)
            return offset + at + 1
        left -= found
        offset += len(data)
    return offset


def last(file: Follower, count: int, size: int) -> int:
    """Return the offset where the last ``count`` lines begin, read backwards. The last one may lack its newline."""
    missing = count + (file.at(size - 1) == b"\n")
    end = size
    while end and count:
        start = max(0, end - file.chunk)
        data = _between(file, start, end)
        found = data.count(b"\n")
        if found >= missing:
            at = len(data)
            for _ in range(missing):
                at = data.rindex(b"\n", 0, at)
            return start + at + 1
        missing -= found
        end = start
    return end


def last_by_reading(file: Follower, count: int) -> int:
    """Return the same of a file that does not say its size, by reading all of it."""
    starts = collections.deque([0], min(count, sys.maxsize - 1) + 1)
    offset = 0
    while data := file.at(offset, file.chunk):
        at = -1
        while (at := data.find(b"\n", at + 1)) >= 0:
            starts.append(offset + at + 1)
        offset += len(data)
    if starts[-1] == offset:  # behind the end of the last line
        starts.pop()
    elif len(starts) > count:
        starts.popleft()
    return starts[0] if starts else offset


def _between(file: Follower, start: int, end: int) -> bytes:
    pieces = []
    while start < end:
        piece = file.at(start, end - start)
        if not piece:
            raise ClientError(f"{file.path} became shorter while it was read")
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)
