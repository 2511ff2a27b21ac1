"""Both agents among 800 network interfaces and 200 filesystems, in namespaces of their own.

As a program it makes the crowd, and must be started by ``unshare``; what it prints is one JSON list of results.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.report import Result

INTERFACES = 800
FILESYSTEMS = 200
SIZE = 1 << 20  # bytes of a filesystem


def results(rounds: int) -> list[Result]:
    """Return the results; none, after printing why, where this machine does not permit it."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "ip", "losetup", "mkfs.ext4"))):
        print("no crowd: it needs root, util-linux, iproute2 and e2fsprogs")
        return []
    command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.bench.crowd", str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [Result(**result) for result in json.loads(done.stdout.splitlines()[-1])]


def _main(rounds: int) -> None:
    from tests.bench.agents import OURS, Agent, reference
    from tests.bench.rows import CROWDED
    from tests.bench.timing import timed

    script = "".join(
        f"link add a{n} type veth peer name b{n}\n"
        f"address add 10.{n >> 8}.{n & 255}.1/30 dev a{n}\n"
        f"address add 10.{n >> 8}.{n & 255}.2/30 dev b{n}\n"
        for n in range(INTERFACES // 2)
    )
    subprocess.run(["ip", "-batch", "-"], input=script, text=True, check=True)
    with tempfile.TemporaryDirectory(prefix="qga-crowd-") as name:
        directory = Path(name)
        devices: list[str] = []
        try:
            for number in range(FILESYSTEMS):
                devices.append(_mount(directory / f"fs{number}"))
            with Agent("ours", OURS, directory) as ours, Agent("reference", (reference(),), directory) as theirs:
                sys.stdout.flush()
                found = timed(CROWDED, ours.connect(), theirs.connect(), None, rounds)
        finally:
            for number, device in enumerate(devices):
                subprocess.run(["umount", str(directory / f"fs{number}")], check=False)
                subprocess.run(["losetup", "--detach", device], check=False)
    print(json.dumps([{**asdict(result), "name": f"{result.name} of a crowd"} for result in found]))


def _mount(point: Path) -> str:
    """A small filesystem in a file, mounted there; returns its loop device."""
    point.mkdir()
    image = point.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", str(image)], check=True)
    made = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True)
    device = made.stdout.strip()
    subprocess.run(["mount", device, str(point)], check=True)
    return device


if __name__ == "__main__":
    _main(int(sys.argv[1]))
