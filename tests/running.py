"""A real agent in a process of its own, for tests of what only a process can show."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.until import unchanged

_TICK = os.sysconf("SC_CLK_TCK")
START = 20.0  # seconds: this may be a busy machine


class RunningAgent:
    """``with RunningAgent(directory, "-m", "unix-listen", "-p", path)``: ready when entered, ended when left.

    ``prefix`` are words before the program: what sets up its process, and becomes it.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        env: dict[str, str] | None = None,
        module: str = "qga",
        prefix: Sequence[str] = (),
    ) -> None:
        self.log = directory / "agent.log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(directory / "notify")
        Path(address).unlink(missing_ok=True)  # of an agent before this one
        self._notify.bind(address)
        self._notify.settimeout(START)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", module, "-t", str(directory), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "QGA_CONF": "/dev/null", "NOTIFY_SOCKET": address, **(env or {})},
            )

    def notification(self) -> str:
        """Return the next message that the agent sends to systemd: sd_notify(3)."""
        return self._notify.recv(100).decode()

    def __enter__(self) -> Self:
        try:
            assert self._notify.recv(100) == b"READY=1"
        except BaseException:
            self.stop()
            print(self.log.read_text())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()
        if kind is not None:
            print(self.log.read_text())

    def terminate(self, timeout: float = 10) -> int:
        """SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._notify.close()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def children(self) -> list[int]:
        """None, when it has ended."""
        try:
            return [
                int(pid)
                for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            ]
        except FileNotFoundError:
            return []

    def resident(self) -> int:
        """Bytes of memory that it holds: proc(5), VmRSS."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("\nVmRSS:")[1].split()[0]) * 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def wake_ups(self) -> int:
        """How often it has gone to sleep, which is how often it was woken: proc(5), voluntary_ctxt_switches."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])

    def settle(self, seconds: float = 0.1) -> None:
        """Return once the agent has been idle for that long."""
        unchanged(lambda: (self.wake_ups(), self.cpu_seconds()), seconds)

    def wake_ups_in(self, seconds: float) -> int:
        """Once it has finished what it was doing: the last reply may come before its work is done."""
        self.settle()
        before = self.wake_ups()
        time.sleep(seconds)
        return self.wake_ups() - before
