"""``make bench``: ours beside QEMU's agent in one run, rounds interleaved, medians; a table, JSON and a picture.

A ratio above 1 is ahead of the reference. Absolute times are of this machine and this hour; ratios hold.
"""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import crowd, guest, hostile, installed, plain
from tests.bench.agents import OURS, Agent, reference
from tests.bench.audited import audited
from tests.bench.client import Client, request
from tests.bench.growth import growth
from tests.bench.report import Result, draw, table
from tests.bench.rows import MIB, POLICY, ROWS, RULED
from tests.bench.timing import timed

ROUNDS = 7
FLOOR = (sys.executable, "-m", "tests.bench.floor")
OUTPUT = Path("build/bench")


def processes(directory: Path) -> list[Result]:
    """Measure the cost of an idle agent, and how long its start takes."""
    python = interpreter()
    starts: list[list[float]] = [[], []]
    for number in range(ROUNDS):
        for program, kept in zip((OURS, (reference(),)), starts, strict=True):
            with Agent(f"start-{len(kept)}-{program[-1].rpartition('/')[2]}-{number}", program, directory) as agent:
                client = agent.connect()
                client.ask("guest-ping")
                kept.append(time.perf_counter() - agent.begun)
                client.close()
    with Agent("idle", OURS, directory) as ours, Agent("idle-reference", (reference(),), directory) as theirs:
        clients = ours.connect(), theirs.connect()
        for client in clients:
            client.ask("guest-ping")
        time.sleep(1)
        idle = ours.resident(), theirs.resident()
        woken = ours.wake_ups(3), theirs.wake_ups(3)
        after = loaded(ours, clients[0]), loaded(theirs, clients[1])
    ours_start, their_start = statistics.median(starts[0]), statistics.median(starts[1])
    bare = resident_interpreter()
    after_load = "resident memory after eight 16 MiB reads and a 16 MiB exec"
    return [
        Result(
            "start to first reply", ours_start, their_start, "s", note=f"{ours_start / python:.1f} interpreters (≤ 9)"
        ),
        Result("resident memory, idle", *idle, "B", note=f"{idle[0] / bare:.2f} interpreters (≤ 2.1), ≤ 18 MB"),
        Result(after_load, *after, "B", note=f"{(after[0] - idle[0]) / 1e6:+.1f} MB (≤ +4)"),
        Result("wake-ups a second, idle", *woken, "/s", note="0"),
    ]


def loaded(agent: Agent, client: Client) -> int:
    path = f"{client.directory}/large"
    with open(path, "wb") as file:
        file.truncate(16 * MIB)
    handle = client.ask("guest-file-open", path=path)
    for _ in range(8):
        client.ask("guest-file-seek", handle=handle, offset=0, whence=0)
        client.exchange(request("guest-file-read", handle=handle, count=16 * MIB))
    pid = client.ask("guest-exec", path="head", arg=["-c", str(16 * MIB), "/dev/zero"], capture_output=True)["pid"]
    while not client.has_exited(request("guest-exec-status", pid=pid)):
        time.sleep(0.01)
    time.sleep(5)
    return agent.resident()


def interpreter() -> float:
    """Seconds that ``python3 -c pass`` takes."""
    spans = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        spans.append(time.perf_counter() - begun)
    return statistics.median(spans)


def resident_interpreter() -> int:
    code = "print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout) * 1024


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    compileall.compile_dir("qga", quiet=1)  # as pip does when it installs
    # Client and agents share a processor: where the scheduler puts them decides more than what they do.
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(processors)})
    with tempfile.TemporaryDirectory(prefix="qga-bench-") as name:
        directory = Path(name)
        with (
            Agent("ours", OURS, directory) as ours,
            Agent("reference", (reference(),), directory) as theirs,
            Agent("floor", FLOOR, directory) as floor,
        ):
            results = timed(ROWS, ours.connect(), theirs.connect(), floor.connect(), rounds)
        results.append(audited(directory, rounds))
        policy = directory / "policy.toml"
        policy.write_text(POLICY)
        with (
            Agent("ours-ruled", (*OURS, "--policy", str(policy)), directory) as ours,
            Agent("reference-beside", (reference(),), directory) as theirs,
        ):
            results += timed(RULED, ours.connect(), theirs.connect(), None, rounds)
        results += plain.results(directory, rounds)
        results += hostile.results(directory, rounds)
        results += crowd.results(rounds)
        results += processes(directory)
        grown = growth(directory)
    os.sched_setaffinity(0, processors)  # a guest is a machine of its own, with two processors
    results += guest.results(rounds)
    results += installed.results()
    print("\n" + table(results))
    print("\n".join(grown))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "bench.json").write_text(json.dumps([result.as_json() for result in results], indent=1) + "\n")
    draw(results, OUTPUT / "bench.svg")
    print(f"\nin {OUTPUT}: bench.json, bench.svg")


if __name__ == "__main__":
    main()
