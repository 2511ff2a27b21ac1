"""Agents for the client's tests, each in a process, unable to freeze or suspend this machine.

Ours and Debian's on this machine as it is, and ours on one that has no programs but BusyBox's, as Alpine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qga.client import Client
from tests.running import RunningAgent

# The agents that a test is run with: make test-fast leaves out all but ours.
AGENTS = ["ours", pytest.param("debian", marks=pytest.mark.slow)]
AGENTS_AND_BUSYBOX = [*AGENTS, pytest.param("busybox", marks=pytest.mark.slow)]

DEBIANS = Path(os.environ.get("QGA_REFERENCE", "/usr/sbin/qemu-ga"))  # or another release of QEMU's
BLOCKED = (
    "guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-fsfreeze-thaw,guest-fstrim,guest-shutdown,guest-suspend-ram,"
    "guest-suspend-disk,guest-suspend-hybrid,guest-set-time,guest-set-vcpus,guest-set-memory-blocks,guest-set-user-password"
)


def busybox(directory: Path) -> Path:
    """All programs of a guest that has BusyBox and nothing else."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("busybox is not installed")
    programs = directory / "busybox"
    programs.mkdir(exist_ok=True)
    for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        with contextlib.suppress(FileExistsError):
            (programs / name).symlink_to(program)
    return programs


@contextmanager
def listening(which: str, directory: Path, *blocked: str) -> Iterator[str]:
    """Run an agent on a socket in a directory, without the commands ``blocked``; give its address once it answers."""
    path = str(directory / "agent.sock")
    with agent(which, directory, *blocked, path=path):
        Client.connect(path, wait=10).close()
        yield path


@contextmanager
def agent(
    which: str, directory: Path, *blocked: str, path: Path | str, method: str = "unix-listen"
) -> Iterator[None]:
    """Run an agent without the commands ``blocked``; ours listens once inside, for unix-listen."""
    words = ["-m", method, "-p", str(path), "-b", BLOCKED + "".join(f",{name}" for name in blocked)]
    if which == "busybox":
        with RunningAgent(directory, *words, env={"PATH": str(busybox(directory))}):
            yield
        return
    if which == "ours":
        with RunningAgent(directory, *words):
            yield
        return
    if not DEBIANS.exists():
        pytest.skip("Debian's qemu-guest-agent is not installed")
    process = subprocess.Popen([str(DEBIANS), "-t", str(directory), *words], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
