"""The agent in a guest whose kernel takes its time: ``python -m tests.slow``, with the agent's options.

FITRIM takes ten minutes, on a filesystem that is always there.
"""

from __future__ import annotations

import sys
import time

from qga.agent.cli import main
from qga.agent.commands import filesystem
from qga.agent.linux.host import Host
from qga.agent.linux.mounts import Mount
from qga.agent.linux.trimming import FITRIM

TEN_MINUTES = 600.0


def _ioctl(self: Host, descriptor: int, request: int, argument: bytearray | int = 0) -> int:
    assert request == FITRIM
    time.sleep(TEN_MINUTES)
    return 0


def _list_mounts(host: Host) -> list[Mount]:
    return [Mount(254, 1, "/", "ext4", "/dev/vda1")]


if __name__ == "__main__":
    Host.ioctl = _ioctl  # type: ignore[method-assign]
    filesystem.list_mounts = _list_mounts  # type: ignore[attr-defined]
    sys.exit(main())
