"""Agents for the client's tests: ours and Debian's, each in a process, unable to freeze or suspend this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.running import RunningAgent

DEBIANS = Path(os.environ.get("QGA_REFERENCE", "/usr/sbin/qemu-ga"))  # or another release of QEMU's
BLOCKED = (
    "guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-fsfreeze-thaw,guest-fstrim,guest-shutdown,guest-suspend-ram,"
    "guest-suspend-disk,guest-suspend-hybrid,guest-set-time,guest-set-vcpus,guest-set-memory-blocks,guest-set-user-password"
)


@contextmanager
def agent(
    which: str, directory: Path, *options: str, path: Path | str, method: str = "unix-listen"
) -> Iterator[None]:
    """Ready once inside, for unix-listen."""
    words = ["-m", method, "-p", str(path), "-b", BLOCKED + "".join(f",{name}" for name in options)]
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
