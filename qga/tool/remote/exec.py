"""exec: run a program in the guest, and see what it writes while it runs.

Its output goes to two files of a private directory in the guest, which guest-file-read follows: a FIFO would do with
our agent only, QEMU's loses bytes on its short reads. Without a shell in the guest it is shown at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import secrets
import sys
import time

from qga.client.client import Client
from qga.client.errors import ClientError, CommandFailed, CommandNotFound
from qga.client.operations import run
from qga.client.operations.guest_tools import PATIENCE
from qga.client.payload import payload, placed
from qga.tool import output
from qga.tool.exits import HELD_TOO_LONG, UsageError, ended, exit_status
from qga.tool.remote import guest
from qga.tool.remote.launch import environment
from qga.tool.remote.stdin import Feeder

_CHUNK = 48 * 1024  # bytes of one read
_CHUNKS = 16  # reads of one look: a program that writes without end must not hide its end, or the time limit
_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.25  # seconds between two looks


class Follower:
    """Writes what a growing file of the guest has got since the last look."""

    def __init__(self, client: Client, path: str, target: output.Output, chunk: int = _CHUNK) -> None:
        self._client, self._target, self._chunk = client, target, chunk
        self._offset = 0
        self._handle = client.guest_file_open(path, "r")

    def look(self) -> bool:
        """Whether there was something: as much as one look takes, and more may be left."""
        start = self._offset
        for _ in range(_CHUNKS):
            data = self._at(self._offset, self._chunk)  # QEMU's agent remembers the end without a seek
            if not data:
                break
            self._target.write(data)
            self._offset += len(data)
        if self._offset > start:
            self._target.flush()
        return self._offset > start

    def close(self) -> None:
        self._close(self._handle)

    def _at(self, offset: int, count: int = 1) -> bytes:
        """What is there, at most ``count`` bytes or a chunk."""
        count = min(count, self._chunk)
        self._client.guest_file_seek(self._handle, offset, "set")
        reply = self._client.guest_file_read(self._handle, count)
        return payload(reply.buf_b64, reply.count, count)

    def _size(self, handle: int) -> int:
        return placed(self._client.guest_file_seek(handle, 0, "end").position)

    def _close(self, handle: int) -> None:
        with contextlib.suppress(ClientError):
            self._client.guest_file_close(handle)


def execute(client: Client, options: argparse.Namespace) -> int:
    if options.tty:
        from qga.tool.remote.shell import shell

        if options.stdin:
            raise UsageError("--tty and --stdin: a terminal is what is typed")
        return shell(client, options)
    environment(options.env)
    words = [*(["env", *options.env] if options.env else []), *options.words]
    name = f"qga.exec-{secrets.token_hex(8)}"
    try:
        with contextlib.ExitStack() as stack:
            try:
                made = client.run(guest.command("program_prepare.sh", name), text=True, timeout=PATIENCE)
                live = made.returncode == 0 and made.stdout.startswith("/")
                feeder = Feeder(client, made.stdout, options.linger, stdin=options.stdin) if live else None
            except CommandFailed:  # no shell, or the agent may not write files
                feeder = None
            if feeder is not None:
                stack.callback(feeder.close)
                return _live(client, made.stdout, words, options, feeder, stack)
        return _at_the_end(client, words, sys.stdin.buffer.read() if options.stdin else None, options.limit)
    finally:
        with contextlib.suppress(ClientError):
            client.run(guest.command("program_remove.sh", name), timeout=PATIENCE)


def _live(
    client: Client,
    directory: str,
    words: list[str],
    options: argparse.Namespace,
    feeder: Feeder,
    stack: contextlib.ExitStack,
) -> int:
    linger, fed = str(math.ceil(options.linger)), "yes" if options.stdin else "no"
    limit: float | None = options.limit
    outputs = (("out", sys.stdout.buffer), ("err", sys.stderr.buffer))
    deadline = None if limit is None else time.monotonic() + limit
    pause, exited, sent = _FIRST_PAUSE, False, "TERM"
    argv = guest.command("program.sh", directory, linger, fed, *words)
    pid = client.carry_out(run.start(argv, capture_output=False))
    try:
        followers = [Follower(client, f"{directory}/{name}", target) for name, target in outputs]
        for follower in followers:
            stack.callback(follower.close)
        while True:
            busy = False
            try:
                if not exited:  # the end is told once; what is read after it is the rest
                    status = client.call_raw("guest-exec-status", {"pid": pid})
                    exited = status["exited"]
                looks = [follower.look() for follower in followers]
                busy = any(looks)
                if exited and not busy:
                    return ended(status)
                if not exited:
                    busy |= feeder.feed(pause)
            except CommandNotFound as error:  # filesystems are frozen, by another client, for some seconds
                if not error.disabled:
                    raise
                time.sleep(pause)
            if deadline is not None and time.monotonic() >= deadline:
                output.note(f"{words[0]} had not ended after {limit:g} s: it was ended")
                return HELD_TOO_LONG
            pause = _FIRST_PAUSE if busy else min(pause * 1.5, _LAST_PAUSE)
    except KeyboardInterrupt:
        sent = "INT"
        raise
    finally:
        if not exited:
            with contextlib.suppress(ClientError):
                client.run(guest.command("program_end.sh", sent, str(pid)), timeout=PATIENCE)


def _at_the_end(client: Client, words: list[str], data: bytes | None, limit: float | None) -> int:
    done = client.run(words, input=data, timeout=limit)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.buffer.write(done.stderr)
    return exit_status(done.returncode)
