"""cat, tail and ls: look at files of the guest."""

from __future__ import annotations

import argparse
import collections
import sys
import time

from qga.client.client import Client
from qga.client.errors import CommandFailed
from qga.client.tool.execute import Follower

_CHUNK = 1 << 20  # bytes asked at a time
_PAUSE = 0.25  # seconds between two looks


def cat(client: Client, options: argparse.Namespace) -> None:
    for path in options.paths:
        with client.open(path.removeprefix(":")) as file:
            while data := file.read(_CHUNK):
                sys.stdout.buffer.write(data)
    sys.stdout.flush()


def tail(client: Client, options: argparse.Namespace) -> None:
    """The last lines of at most the last MiB; with ``follow`` what is added, until ctrl-C."""
    path = options.path.removeprefix(":")
    with client.open(path) as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - _CHUNK))
        data = file.readall()
        offset = file.tell()
    last = collections.deque(data.splitlines(keepends=True), options.lines)
    sys.stdout.buffer.write(b"".join(last))
    sys.stdout.flush()
    if options.follow:
        follower = Follower(client, path, sys.stdout.buffer, offset)
        try:
            while True:
                follower.look()
                time.sleep(_PAUSE)
        finally:
            follower.close()


def ls(client: Client, options: argparse.Namespace) -> None:
    """By the guest's own ls."""
    done = client.run(["ls", *(["-l"] if options.long else []), "--", options.path.removeprefix(":")])
    text = done.stdout.decode(errors="replace")
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else "�" for c in text))
    if done.returncode:
        raise CommandFailed("ls", done.stderr.decode(errors="replace").strip().removeprefix("ls: "))
