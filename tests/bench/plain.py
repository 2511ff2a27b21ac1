"""Our agent without its accelerators, as a package without a network installs it, beside QEMU's."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.bench.agents import Agent, reference
from tests.bench.report import Result
from tests.bench.rows import PLAIN
from tests.bench.timing import timed

SOURCE = """
import sys
sys.modules.update(dict.fromkeys(("orjson", "pybase64", "fastjsonschema")))
from qga.agent.__main__ import main
sys.exit(main())
"""
PROGRAM = (sys.executable, "-c", SOURCE)
MOST = 16e6  # bytes of memory, idle


def results(directory: Path, rounds: int) -> list[Result]:
    with (
        Agent("plain", PROGRAM, directory) as ours,
        Agent("reference-beside-plain", (reference(),), directory) as theirs,
    ):
        clients = ours.connect(), theirs.connect()
        for client in clients:
            client.ask("guest-ping")
        time.sleep(1)
        idle = ours.resident(), theirs.resident()
        found = timed(PLAIN, *clients, None, rounds)
    note = f"≤ {MOST / 1e6:.0f} MB"
    return [*found, Result("resident memory, idle, without accelerators", *idle, "B", note=note)]
