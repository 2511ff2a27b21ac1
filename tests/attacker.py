"""A user of the guest who races copies into a directory that belongs to them."""

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
    """Replace what is there by a link to the victim."""
    with contextlib.suppress(OSError):
        os.symlink(victim, ".link")
        os.rename(".link", name)


def swap_parts(victim: str) -> None:
    for name in os.listdir("."):
        if name.endswith(".qga-part") or name == "x":
            over(name, victim)


def swap_directories(victim: str) -> None:
    """Replace each directory here by a link for a moment."""
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
    """Attack as an ordinary user until the pipe ``end`` is closed, for a minute at most."""
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
