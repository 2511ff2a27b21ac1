"""What the audit log costs a ping: our agent with a log file beside our agent without one."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from tests.bench.agents import OURS, Agent
from tests.bench.client import Client, request
from tests.bench.report import Result

COUNT = 3000
MOST = 5e-6  # seconds


def audited(directory: Path, rounds: int) -> Result:
    file = str(directory / "audit.log")
    with (
        Agent("audited", (*OURS, "--audit-log", file), directory) as with_log,
        Agent("unaudited", (*OURS, "--audit-log", "off"), directory) as without,
    ):
        clients = with_log.connect(), without.connect()
        spans: tuple[list[float], list[float]] = [], []
        for number in range(rounds + 1):
            for client, kept in zip(clients, spans, strict=True):
                seconds = _pings(client)
                if number:  # the first fills the caches
                    kept.append(seconds)
    ours, bare = map(statistics.median, spans)
    assert len(Path(file).read_text().splitlines()) > rounds * COUNT
    note = f"{(ours - bare) * 1e6:+.1f} µs (≤ {MOST * 1e6:+.0f} µs); beside it, ours without"
    return Result("guest-ping with an audit log", ours, bare, "s", note=note)


def _pings(client: Client) -> float:
    ping = request("guest-ping")
    begun = time.perf_counter()
    for _ in range(COUNT):
        client.exchange(ping)
    return (time.perf_counter() - begun) / COUNT
