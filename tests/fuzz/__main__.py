"""``make fuzz``: every target by every engine, for a bounded time in all; exits 1 if there are findings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.engines import failure, shrunk
from tests.fuzz.targets import TARGETS

START = 1.0  # seconds that an engine takes before it tries the first input
GRACE = 60.0  # seconds more than its share, after which an engine counts as hung


@dataclass(frozen=True)
class Outcome:
    engine: str
    name: str
    tried: int
    found: bytes | None
    trouble: str = ""


def main() -> int:
    begin, seconds = time.monotonic(), float(sys.argv[1])
    engines = ["hypothesis", "atheris"]
    if find_spec("atheris") is None:
        print("atheris is not installed, and cannot be from here: only hypothesis runs")
        engines.remove("atheris")
    jobs = [(engine, name) for name in TARGETS for engine in engines]
    workers = len(os.sched_getaffinity(0))
    share = max(1.0, seconds * workers / len(jobs) - START)
    print(f"{len(TARGETS)} targets, {share:.1f} s for each by {' and '.join(engines)}")
    with ThreadPoolExecutor(workers) as pool, tempfile.TemporaryDirectory(prefix="qga-fuzz-") as directory:
        outcomes = list(pool.map(lambda job: _run(job[0], job[1], share, Path(directory)), jobs))
    for name in TARGETS:
        tried = ", ".join(f"{outcome.tried:>9} by {outcome.engine}" for outcome in outcomes if outcome.name == name)
        print(f"  {name:20} {tried}")
    findings = [line for outcome in outcomes for line in _reported(outcome)]
    print(f"{time.monotonic() - begin:.0f} s")
    print("\n".join(findings) or "nothing found")
    return 1 if findings else 0


def _run(engine: str, name: str, seconds: float, directory: Path) -> Outcome:
    own = directory / f"{engine} {name}"
    own.mkdir()
    with (own / "output").open("w+") as output:
        argv = [sys.executable, "-m", "tests.fuzz.engines", engine, name, str(seconds), str(own)]
        process = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(own)})
        try:
            status = process.wait(seconds + GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        output.seek(0)
        said = output.read()
    tried = re.search(r"(?:tried|number_of_executed_units:) +(\d+)", said)
    found = next((path.read_bytes() for path in own.glob("found-*")), None)
    trouble = f"the engine ended with status {status}:\n{said[-2000:]}" if status and found is None else ""
    return Outcome(engine, name, int(tried[1]) if tried else 0, found, trouble)


def _reported(outcome: Outcome) -> Iterator[str]:
    """Yield the traceback of a finding, and a line to paste into the list of earlier findings."""
    if outcome.trouble:
        yield f"\n{outcome.name}, by {outcome.engine}: {outcome.trouble}"
    if outcome.found is not None:
        target = TARGETS[outcome.name]
        data = outcome.found if failure(target, outcome.found) is None else shrunk(target, outcome.found)
        yield f"\n{outcome.name}, by {outcome.engine}:\n{failure(target, data) or 'it fails only in the engine'}"
        yield f"    ({outcome.name!r}, {data!r}),"


if __name__ == "__main__":
    sys.exit(main())
