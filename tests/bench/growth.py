"""Whether cost grows linearly: a byte costs the same in a request of any size, and no memory is kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.bench.agents import OURS, Agent
from tests.bench.client import Client, request
from tests.bench.rows import KIB, MIB

PINGS = 1_000_000
AT_ONCE = 1000
OFTEN = 10_000
SIZES = (KIB, 64 * KIB, MIB, 16 * MIB, 60 * MIB)


def growth(directory: Path) -> list[str]:
    """One line for each thing that was tried."""
    lines = []
    with Agent("growth", OURS, directory) as agent:
        client = agent.connect()
        client.ask("guest-ping")
        for size in SIZES:
            lines.append(_bytes(client, size))
        for name, run in (("pings", _pings), ("open and close", _files), ("finished execs, collected", _execs)):
            run(client, AT_ONCE)
            before = agent.resident()
            count = PINGS if run is _pings else OFTEN
            run(client, count)
            lines.append(f"{count:,} {name}: {(agent.resident() - before) / 1e6:+.2f} MB")
    return lines


def _bytes(client: Client, size: int) -> str:
    whole = request("guest-ping", id="x" * size)
    count = max(1, 4 * MIB // size)
    begun = time.perf_counter()
    for _ in range(count):
        client.exchange(whole)
    return f"request of {size // KIB:,} KiB: {(time.perf_counter() - begun) / count / size * 1e9:.2f} ns a byte"


def _pings(client: Client, count: int) -> None:
    for _ in range(count // AT_ONCE):
        client.pipeline(request("guest-ping") * AT_ONCE, AT_ONCE)


def _files(client: Client, count: int) -> None:
    for _ in range(count):
        client.ask("guest-file-close", handle=client.ask("guest-file-open", path=os.devnull))


def _execs(client: Client, count: int) -> None:
    for _ in range(count):
        pid = client.ask("guest-exec", path="/bin/true", capture_output=True)["pid"]
        while not client.ask("guest-exec-status", pid=pid)["exited"]:
            pass
