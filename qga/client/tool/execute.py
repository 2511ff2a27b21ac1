"""exec: run a program in the guest, and see what it writes while it runs.

Its output goes to two files of a private directory in the guest, which guest-file-read follows: a FIFO would do with
our agent only, QEMU's loses bytes on its short reads. Without a shell in the guest it is shown at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Any, BinaryIO

import pybase64

from qga.client.client import Client
from qga.client.errors import ClientError, CommandFailed
from qga.client.files import decoded
from qga.client.tool import show
from qga.client.tool.exits import HELD_TOO_LONG, UsageError

_PREPARE = 'd=$(mktemp -d "${TMPDIR:-/tmp}/qga.XXXXXXXX") && : >"$d/out" && : >"$d/err" && printf %s "$d"'
_RUN = 'd=$1; shift; exec "$@" >"$d/out" 2>"$d/err"'
_CHUNK = 48 * 1024  # bytes of one read
_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.25  # seconds between two looks


class Follower:
    """Writes what a growing file of the guest has got since the last look."""

    def __init__(self, client: Client, path: str, target: BinaryIO, offset: int = 0) -> None:
        self._client, self._target, self._offset = client, target, offset
        self._handle = client.guest_file_open(path, "r")

    def look(self) -> bool:
        """Whether there was something."""
        start = self._offset
        self._client.guest_file_seek(self._handle, self._offset, "set")  # QEMU's agent remembers the end otherwise
        while data := decoded(self._client.guest_file_read(self._handle, _CHUNK).buf_b64):
            self._target.write(data)
            self._offset += len(data)
        if self._offset > start:
            self._target.flush()
        return self._offset > start

    def close(self) -> None:
        with contextlib.suppress(ClientError):
            self._client.guest_file_close(self._handle)


def execute(client: Client, options: argparse.Namespace) -> int:
    if options.tty:
        from qga.client.tool.shell import shell

        if options.stdin:
            raise UsageError("--tty and --stdin: a terminal is what is typed")
        return shell(client, options)
    words = [*(["env", *options.env] if options.env else []), *options.words]
    data = sys.stdin.buffer.read() if options.stdin else None
    try:
        made = client.run(["sh", "-c", _PREPARE], text=True)
    except CommandFailed:
        made = None
    if made is None or made.returncode or not made.stdout.startswith("/"):
        return _at_the_end(client, words, data, options.limit)
    try:
        return _live(client, made.stdout, words, data, options.limit)
    finally:
        client.run(["rm", "-rf", "--", made.stdout])


def _live(client: Client, directory: str, words: list[str], data: bytes | None, limit: float | None) -> int:
    arguments: dict[str, Any] = {"path": "sh", "arg": ["-c", _RUN, "sh", directory, *words]}
    if data is not None:
        arguments["input-data"] = pybase64.b64encode_as_string(data)
    outputs = (("out", sys.stdout.buffer), ("err", sys.stderr.buffer))
    followers: list[Follower] = []
    pid = client.call_raw("guest-exec", arguments)["pid"]
    deadline = None if limit is None else time.monotonic() + limit
    pause, status = _FIRST_PAUSE, {"exited": False}
    try:
        followers += [Follower(client, f"{directory}/{name}", target) for name, target in outputs]
        while True:
            status = client.call_raw("guest-exec-status", {"pid": pid})
            news = [follower.look() for follower in followers]
            if status["exited"]:
                return ended(status)
            if deadline is not None and time.monotonic() >= deadline:
                show.note(f"{words[0]} had not ended after {limit:g} s: it was killed")
                return HELD_TOO_LONG
            time.sleep(pause)
            pause = _FIRST_PAUSE if any(news) else min(pause * 1.5, _LAST_PAUSE)
    finally:
        if not status["exited"]:
            with contextlib.suppress(ClientError):
                client.run(["kill", "-KILL", str(pid)])
        for follower in followers:
            follower.close()


def ended(status: Any) -> int:
    """As a shell tells it: 128 and the signal's number."""
    return int(status["exitcode"]) if "exitcode" in status else 128 + int(status.get("signal", 0))


def _at_the_end(client: Client, words: list[str], data: bytes | None, limit: float | None) -> int:
    done = client.run(words, input=data, timeout=limit)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.buffer.write(done.stderr)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
