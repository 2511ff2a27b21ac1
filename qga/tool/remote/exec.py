"""exec: run a program in the guest and show its output while it runs.

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
from collections.abc import Sequence

from qga.client.client import Client
from qga.client.errors import ClientError, CommandFailed, CommandNotFound
from qga.client.operations import run
from qga.client.operations.guest_tools import PATIENCE
from qga.client.replies import ExecStatus
from qga.tool import output
from qga.tool.exits import COMMAND_TIMED_OUT, UsageError, of_program, of_status
from qga.tool.remote import guest
from qga.tool.remote.follow import Follower
from qga.tool.remote.launch import environment
from qga.tool.remote.stdin import StdinPump

_FIRST_PAUSE, _MAX_PAUSE = 0.01, 0.25  # seconds between two rounds: each is longer while nothing happens
_GROWTH = 1.5


def execute(client: Client, options: argparse.Namespace) -> int:
    """Run it, and return its exit status."""
    if options.tty:
        from qga.tool.remote.shell import shell

        if options.stdin:
            raise UsageError("--tty and --stdin exclude each other: on a terminal, input is what is typed")
        return shell(client, options)
    environment(options.env)
    words = [*(["env", *options.env] if options.env else []), *options.words]
    name = f"qga.exec-{secrets.token_hex(8)}"
    try:
        with contextlib.ExitStack() as stack:
            pump: StdinPump | None = None
            with contextlib.suppress(CommandFailed):  # no shell, or the agent may not write files
                prepared = client.run(guest.command("program_prepare.sh", name), text=True, timeout=PATIENCE)
                directory = prepared.stdout
                if prepared.returncode == 0 and directory.startswith("/"):
                    pump = StdinPump(client, directory, options.linger, stdin=options.stdin)
            if pump is not None:
                stack.callback(pump.close)
                return _Running(client, directory, words, options, pump, stack).wait(options.limit)
        return _shown_at_the_end(client, words, sys.stdin.buffer.read() if options.stdin else None, options.limit)
    finally:
        with contextlib.suppress(ClientError):
            client.run(guest.command("program_remove.sh", name), timeout=PATIENCE)


class _Running:
    """A program in the guest whose output is followed."""

    def __init__(
        self,
        client: Client,
        directory: str,
        words: Sequence[str],
        options: argparse.Namespace,
        pump: StdinPump,
        stack: contextlib.ExitStack,
    ) -> None:
        """Start it. The files that are followed are closed with ``stack``."""
        self._client, self._directory, self._pump, self._stack = client, directory, pump, stack
        self._name = options.words[0]
        self._ended: ExecStatus | None = None
        argv = guest.command(
            "program.sh", directory, str(math.ceil(options.linger)), "yes" if options.stdin else "no", *words
        )
        self._pid = client.carry_out(run.start(argv, capture_output=False))

    def wait(self, limit: float | None) -> int:
        """Show its output and return its exit status; end it after ``limit`` seconds, or if this is interrupted."""
        deadline = None if limit is None else time.monotonic() + limit
        signal = "TERM"
        try:
            followers = [self._follower("out"), self._follower("err")]
            pause = _FIRST_PAUSE
            while True:
                try:
                    busy = self._round(followers, pause)
                    if self._ended is not None and not busy:
                        return of_status(self._ended)
                except CommandNotFound as error:  # filesystems are frozen, by another client, for some seconds
                    if not error.disabled:
                        raise
                    busy = False
                    time.sleep(pause)
                if deadline is not None and time.monotonic() >= deadline:
                    output.note(f"{self._name} was still running after {limit:g} s and was ended")
                    return COMMAND_TIMED_OUT
                pause = _FIRST_PAUSE if busy else min(pause * _GROWTH, _MAX_PAUSE)
        except KeyboardInterrupt:
            signal = "INT"
            raise
        finally:
            if self._ended is None:
                with contextlib.suppress(ClientError):
                    end = guest.command("program_end.sh", signal, str(self._pid))
                    self._client.run(end, timeout=PATIENCE)

    def _round(self, followers: Sequence[Follower], pause: float) -> bool:
        """Do once what there is to do, and wait a bit for stdin; return whether anything happened."""
        if self._ended is None:  # agents tell of an end once; what is read after it is the rest
            status = self._client.guest_exec_status(self._pid)
            self._ended = status if status.exited else None
        copied = [follower.copy() for follower in followers]
        pumped = self._ended is None and self._pump.pump(pause)
        return any(copied) or pumped

    def _follower(self, name: str) -> Follower:
        target = {"out": sys.stdout, "err": sys.stderr}[name].buffer
        follower = Follower(self._client, f"{self._directory}/{name}", target)
        self._stack.callback(follower.close)
        return follower


def _shown_at_the_end(client: Client, words: list[str], data: bytes | None, limit: float | None) -> int:
    """Run it without a shell in the guest, and show what it wrote once it has ended."""
    done = client.run(words, input=data, timeout=limit)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.buffer.write(done.stderr)
    return of_program(done.returncode)
