"""How fast a file is copied through a unix socket: ``python -m tests.bench_client [MiB] [qemu-ga]``.

Bytes a second of either direction, the best and the worst of five runs, with and without the hash at the far end,
and the most memory that the client held.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qga.client import Client
from qga.client.copy import Outcome
from tests.running import RunningAgent

RUNS = 5


def rates(client: Client, directory: Path, mebibytes: int) -> None:
    source, far, back = (directory / name for name in ("source", "far", "back"))
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    for verify in (False, True):
        for name, way, ends in (("upload", client.upload, (source, far)), ("download", client.download, (far, back))):
            seen = []
            for _ in range(RUNS):
                outcome: Outcome = way(str(ends[0]), str(ends[1]), verify=verify)
                assert outcome.size == mebibytes << 20
                assert outcome.verified == verify
                seen.append(outcome.size / outcome.seconds / 1e6)
            print(
                f"{name:9}{'verified' if verify else 'unverified':12}{max(seen):6.0f} MB/s  (worst {min(seen):.0f})"
            )
    print(f"memory    {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")


def main(mebibytes: int = 256, program: str = "") -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = directory / "agent.sock"
        if program:
            agent = subprocess.Popen(
                [program, "-m", "unix-listen", "-p", str(path), "-t", name, "-b", "guest-fsfreeze-freeze"]
            )
            try:
                time.sleep(1)
                rates(Client.connect(str(path), wait=10), directory, mebibytes)
            finally:
                agent.kill()
                agent.wait()
            return
        with RunningAgent(directory, "-m", "unix-listen", "-p", str(path), "-b", "guest-fsfreeze-freeze"):
            rates(Client.connect(str(path), wait=10), directory, mebibytes)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 256, *sys.argv[2:3])
