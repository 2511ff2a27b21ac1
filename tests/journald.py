"""A real systemd-journald, in mount and network namespaces of its own, and programs that run beside it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DAEMON = "/lib/systemd/systemd-journald"
PATIENCE = 60.0  # seconds; this may be a busy machine
INSTALLED = os.geteuid() == 0 and os.path.exists(DAEMON) and all(map(shutil.which, ("unshare", "nsenter")))

_QUIET = "[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=no\\nForwardToSyslog=no\\nForwardToWall=no\\n"
_START = f"""\
mount --make-rprivate / && mount -t tmpfs -o size=200m tmpfs /run &&
mkdir -p /run/systemd/journald.conf.d /run/systemd/units /run/log/journal &&
printf '{_QUIET}' > /run/systemd/journald.conf.d/test.conf && exec {DAEMON}
"""
# Where journald looks for the control group that has a process's unit; cgroups(7): hybrid, version 1, version 2.
_HIERARCHIES = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup")


class Journald:
    """``with Journald("x.service"):`` ready when entered, ended when left; x.service is whatever runs beside it."""

    def __init__(self, directory: Path, unit: str) -> None:
        self.unit = unit
        self._group = next(Path(path) for path in _HIERARCHIES if os.path.isdir(path)) / unit
        self._group.mkdir(exist_ok=True)
        address = str(directory / "journald.notify")
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(address)
        self._notify.settimeout(PATIENCE)
        environ = {**os.environ, "NOTIFY_SOCKET": address}
        self.process = subprocess.Popen(["unshare", "--mount", "--net", "sh", "-c", _START], env=environ)
        self.beside = ["nsenter", "-t", str(self.process.pid), "--mount", "--net"]

    def __enter__(self) -> Self:
        while b"READY=1" not in self._notify.recv(1000):
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._notify.close()
        self._group.rmdir()

    @property
    def as_unit(self) -> list[str]:
        """The words that run a program as a process of the unit, beside journald."""
        return [*self.beside, "sh", "-c", f'echo $$ > {self._group}/cgroup.procs && exec "$@"', "sh"]

    def limit(self, burst: int, seconds: int) -> None:
        """Limit the unit's rate as systemd does for LogRateLimitBurst= and LogRateLimitIntervalSec=."""
        self._run("ln", "-s", str(burst), f"/run/systemd/units/log-rate-limit-burst:{self.unit}")
        self._run("ln", "-s", str(seconds * 1_000_000), f"/run/systemd/units/log-rate-limit-interval:{self.unit}")

    def entries(self, **fields: str) -> list[dict[str, Any]]:
        """Return the entries with these fields in order of arrival, once everything sent so far is written."""
        self._run("journalctl", "--sync")
        wanted = [f"{name}={value}" for name, value in fields.items()]
        return [json.loads(line) for line in self._run("journalctl", "-q", "-o", "json", *wanted).splitlines()]

    def suppressed(self) -> list[str]:
        """Return journald's messages about dropped entries."""
        return [e["MESSAGE"] for e in self.entries(_TRANSPORT="driver") if "Suppressed" in e["MESSAGE"]]

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until the unit's entries meet the condition. Each check runs a program, so this does not spin."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.entries(_SYSTEMD_UNIT=self.unit)):
            assert self.process.poll() is None
            assert time.monotonic() < deadline

    def _run(self, *argv: str) -> str:
        return subprocess.run([*self.beside, *argv], check=True, capture_output=True, text=True).stdout


def numbers(entries: list[dict[str, Any]]) -> list[int]:
    return sorted(int(entry["QGA_SEQ"]) for entry in entries if "QGA_SEQ" in entry)


def lost(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Return the lost records by command, summed over all records of a loss."""
    found: dict[str, int] = {}
    for entry in entries:
        if entry.get("QGA_EVENT") == "lost":
            commands: Mapping[str, int] = json.loads(entry["QGA_COMMANDS"])
            assert sum(commands.values()) == int(entry["QGA_COUNT"])
            for name, count in commands.items():
                found[name] = found.get(name, 0) + count
    return found
