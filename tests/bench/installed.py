"""How long a guest is between two agents when the package is installed, and when it is removed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.report import Result
from tests.repository import REPOSITORY
from tests.until import until
from tests.vm.guest import Disk, Guest, GuestTimeout
from tests.vm.image import build, missing_programs, run

OURS = "10.2.2"
PATIENCE = 120.0  # seconds
SETTLED = 3.0  # seconds after which what the script has restarted is there
PAYLOAD = "/dev/disk/by-label/qga-payload"


def results() -> list[Result]:
    """Return the result; none where this machine cannot run the guest."""
    if missing_programs():
        return []
    with tempfile.TemporaryDirectory(prefix="qga-bench-") as name:
        packages, disk = Path(name, "packages"), Path(name, "payload.img")
        subprocess.run([sys.executable, REPOSITORY / "packaging" / "build.py", packages], check=True)
        run("mke2fs", "-q", "-t", "ext4", "-L", "qga-payload", "-d", packages, disk, "64M")
        with Guest(build(), swap=False, disks=[Disk("virtio-blk-pci", path=disk)]) as guest:
            guest.boot()
            guest.check(f"mkdir -p /mnt/payload; mount {PAYLOAD} /mnt/payload")
            until(lambda: guest.agent_version(timeout=1) not in ("", OURS), PATIENCE)
            ours = spent(guest, "dpkg -i /mnt/payload/qga-agent_*.deb", ours=True)
            upgraded = silence(guest, "dpkg -i /mnt/payload/qga-agent_*.deb")
            theirs = spent(guest, "dpkg --purge qga-agent", ours=False)
            restarted = silence(guest, "systemctl restart qemu-guest-agent.service")
    note = "≤ 10 s; beside it, from its removal to QEMU's answer"
    gap = "≤ 3 s; beside it, a restart of QEMU's agent"
    return [
        Result("from the installation to the first answer", ours, theirs, "s", note=note),
        Result("longest silence of an upgrade", upgraded, restarted, "s", note=gap),
    ]


def silence(guest: Guest, script: str) -> float:
    """Return the longest time between two answers to one connection while a script runs, and after it."""
    number, ended, longest = guest.shell_start(script), 0.0, 0.0
    with guest.peer(timeout=0.5) as peer:
        peer.sync(timeout=30)
        last = time.perf_counter()
        while not ended or time.perf_counter() < ended + SETTLED:
            with contextlib.suppress(TimeoutError):
                peer.sync()
                now = time.perf_counter()
                longest, last = max(longest, now - last), now
            if not ended:
                with contextlib.suppress(GuestTimeout):
                    guest.shell_result(number, 0.01)
                    ended = time.perf_counter()
    return longest


def spent(guest: Guest, script: str, *, ours: bool) -> float:
    """Return the seconds from the start of a script until the agent that is wanted answers."""
    begun = time.perf_counter()
    number = guest.shell_start(script)
    until(
        lambda: (
            (guest.agent_version(timeout=1) == OURS) if ours else guest.agent_version(timeout=1) not in ("", OURS)
        ),
        PATIENCE,
    )
    passed = time.perf_counter() - begun
    guest.shell_result(number, PATIENCE)
    return passed
