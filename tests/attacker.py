"""A user of the guest who races the copies into a directory of his."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

UID = 65534
LONGEST = 60.0  # seconds


def over(name: str, victim: str) -> None:
    """A link to the victim, in the place of what is there."""
    with contextlib.suppress(OSError):
        os.symlink(victim, ".link")
        os.rename(".link", name)


def swap_parts(victim: str) -> None:
    for name in os.listdir("."):
        if name.endswith(".qga-part") or name == "x":
            over(name, victim)


def swap_directories(victim: str) -> None:
    """Each that is here is for some moments another, by a link."""
    for name in os.listdir("."):
        if name in (".aside", ".link"):
            continue
        with contextlib.suppress(OSError):
            os.rename(name, ".aside")
            over(name, victim)
        with contextlib.suppress(OSError):
            os.unlink(name)
        with contextlib.suppress(OSError):
            os.rename(".aside", name)


def attack(how: Callable[[str], None], directory: str, victim: str, end: int, ready: int) -> None:
    """In a child of root's: until ``end``, a pipe, is closed, and for a minute at the longest."""
    os.setgroups([])
    os.setgid(UID)
    os.setuid(UID)
    os.chdir(directory)
    os.write(ready, b"x")
    deadline = time.monotonic() + LONGEST
    while not select.select([end], [], [], 0)[0] and time.monotonic() < deadline:
        how(victim)


@contextmanager
def attacking(how: Callable[[str], None], directory: str, victim: str) -> Iterator[None]:
    end, ending = os.pipe()
    begun, ready = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(ending)
            attack(how, directory, victim, end, ready)
        finally:
            os._exit(0)
    try:
        assert os.read(begun, 1) == b"x"
        yield
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "he goes on to the end"
    finally:
        for descriptor in (end, ending, begun, ready):
            os.close(descriptor)
        os.waitpid(child, 0)
