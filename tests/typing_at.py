"""The tool on a real pty, as a person sits at it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

TOOL = [sys.executable, "-m", "qga.tool"]
PATIENCE = 30.0  # seconds: this may be a busy machine
SOON = 15.0
NAP = f"61.{os.getpid()}"  # seconds that no other test sleeps


class There:
    """Where the guest's ends of this test's terminals keep their files: ``directories``, and their ``processes``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def directories(self) -> list[Path]:
        return list(self.path.iterdir())

    def processes(self) -> list[str]:
        return [line for line in processes("") if str(self.path) in line]


@contextmanager
def nothing_left(directory: Path, patch: pytest.MonkeyPatch) -> Iterator[There]:
    """For agents that are started inside."""
    there = There(directory / "agent-tmp")
    there.path.mkdir()
    patch.setenv("TMPDIR", str(there.path))
    yield there
    assert becomes(lambda: not there.directories()), there.directories()
    assert becomes(lambda: not there.processes()), there.processes()
    assert not processes(f"sleep {NAP}")


def processes(text: str) -> list[str]:
    """Command lines that begin so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if line.startswith(text):
            found.append(line)
    return found


def becomes(what: Callable[[], object], seconds: float = SOON) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Typing:
    """``with Typing(address, "shell") as at``. ``shown`` is all that the terminal got."""

    def __init__(self, address: str, *words: str, rows: int = 24, columns: int = 80) -> None:
        self.leader, self.follower = pty.openpty()
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(self.follower)
        self.shown = b""
        self._seen = 0
        self.process = subprocess.Popen(
            [*TOOL, "-c", address, *words],
            stdin=self.follower,
            stdout=self.follower,
            stderr=self.follower,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.follower)
        if kind is not None:
            print(self.shown[-2000:])

    def type(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        while data:
            select.select([], [self.leader], [])
            data = data[os.write(self.leader, data[:256]) :]

    def see(self, pattern: str, timeout: float = PATIENCE) -> re.Match[bytes]:
        """The first match of what was not seen yet."""
        deadline = time.monotonic() + timeout
        while not (match := re.compile(pattern.encode(), re.S).search(self.shown, self._seen)):
            assert self.read(deadline - time.monotonic()), f"{pattern!r} did not come"
        self._seen = match.end()
        return match

    def read(self, timeout: float) -> bool:
        """Whether anything came."""
        if not select.select([self.leader], [], [], max(0.0, timeout))[0]:
            return False
        self.shown += os.read(self.leader, 65536)
        return True

    def wait(self) -> int:
        """Its exit status; what it shows meanwhile is read."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read(0.02)
        while self.read(0):
            pass
        return self.process.returncode

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def restored(self) -> bool:
        now: list[Any] = termios.tcgetattr(self.follower)
        return now == self.modes
