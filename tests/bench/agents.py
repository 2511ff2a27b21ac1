"""The two agents and the floor, each a process that listens on a unix socket and ends with the benchmark."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.client import Client

START = 20.0  # seconds
OURS = (sys.executable, "-m", "qga")
_TICK = os.sysconf("SC_CLK_TCK")


def reference() -> str:
    """Debian's qemu-guest-agent. Raises SystemExit where it is not installed."""
    found = shutil.which("qemu-ga", path="/usr/sbin:/usr/bin")
    if found is None:
        raise SystemExit("the bench needs QEMU's agent beside ours: apt-get install qemu-guest-agent")
    return found


class Agent:
    """``program`` is what is started, with the options of an agent; the floor takes the same."""

    def __init__(self, name: str, program: Sequence[str], directory: Path) -> None:
        self.name = name
        home = directory / name
        home.mkdir()
        self.path = str(home / "socket")
        options = ("-m", "unix-listen", "-p", self.path, "-t", str(home))
        environment = {**os.environ, "QGA_CONF": str(home / "empty")}
        (home / "empty").touch()  # QEMU's agent takes no device for it
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            [*program, *options], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def connect(self) -> Client:
        """Return a client, as soon as the agent listens."""
        deadline = time.monotonic() + START
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(self.path)
            except OSError:
                sock.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self.name} does not start") from None
                time.sleep(0.0005)
            else:
                return Client(sock, os.path.dirname(self.path))

    def resident(self) -> int:
        """Bytes: proc(5), VmRSS."""
        return int(self._status("VmRSS")) * 1024

    def wake_ups(self, seconds: float) -> float:
        """A second, while it is left alone: proc(5), voluntary_ctxt_switches."""
        before = int(self._status("voluntary_ctxt_switches"))
        time.sleep(seconds)
        return (int(self._status("voluntary_ctxt_switches")) - before) / seconds

    def processor_time(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def _status(self, key: str) -> str:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return status.split(f"\n{key}:")[1].split()[0]
