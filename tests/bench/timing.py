"""Timing in rounds, the agents in turn, with medians: other load on the machine affects them equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from tests.bench.client import Client
from tests.bench.report import Result
from tests.bench.rows import Row


def timed(rows: Sequence[Row], ours: Client, theirs: Client, floor: Client | None, rounds: int) -> list[Result]:
    results = []
    for row in rows:
        peers = [ours, theirs] + ([floor] if floor is not None and row.floor else [])
        spans: list[list[float]] = [[] for _ in peers]
        runs = [row.prepare(peer, row.count) for peer in peers]
        for run in runs:
            run()  # imports what it needs, fills the caches
        for _ in range(rounds):
            for run, kept in zip(runs, spans, strict=True):
                begun = time.perf_counter()
                run()
                kept.append((time.perf_counter() - begun) / row.count)
        our, their, *least = map(statistics.median, spans)
        results.append(
            Result(
                row.name,
                our,
                their,
                "s",
                target=row.target,
                payload=row.payload,
                floor=least[0] if least else None,
                of_floor=row.floor,
            )
        )
        print(results[-1], flush=True)
    return results
