"""Two ways to make inputs for a target for a bounded time: hypothesis, and atheris, which follows the coverage.

``python -m tests.fuzz.engines ENGINE TARGET SECONDS DIRECTORY`` runs one of them, and leaves what it has found in the
directory: a file with the input.
"""

from __future__ import annotations

import re
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Never

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from tests.fuzz.targets import Target

PATIENCE = 5  # seconds for one input: it takes a thousandth of that
ROUND = 200  # examples between two looks at the clock
SHRINKING = 5.0  # seconds

# What parsers of text and numbers stumble over.
_AWKWARD = (b"\0", b"\xff", b"\x1c", b"\r", b"-1", b"+1", b"1_0", b"9" * 400, b"9" * 5000, b"1e999", b"0x1", b"")
_FOREIGN = tuple(text.encode() for text in ("²", "٣", "\u2028", "\x85", "\u3000", "\ufdd0"))


class Hung(BaseException):
    """An input took longer than PATIENCE. The code under test does not catch this."""


def words(target: Target) -> list[bytes]:
    """Return the words that the target's seeds consist of."""
    found = {word for seed in target.seeds for word in re.findall(rb"[\w.]+|\W", seed, re.ASCII)}
    return sorted(word for word in found if len(word) < 40)


def inputs(target: Target) -> SearchStrategy[bytes]:
    """Seeds with some of their bytes replaced, their words in any order, and anything."""
    from hypothesis import strategies as st

    pieces = st.sampled_from([*words(target), *_AWKWARD, *_FOREIGN]) | st.binary(max_size=8)
    edits = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 9), pieces), max_size=4)

    def edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for where, removed, piece in edits:
            at = where % (len(seed) + 1)
            seed = seed[:at] + piece + seed[at + removed :]
        return seed

    return (
        st.builds(edited, st.sampled_from(target.seeds), edits)
        | st.lists(pieces, max_size=24).map(b"".join)
        | st.binary(max_size=300)
    )


def run(target: Target, data: bytes) -> None:
    """Raises what the target raises, and Hung."""

    def hung(number: int, frame: FrameType | None) -> Never:
        raise Hung(f"no end after {PATIENCE} s: {data!r}")

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        target(data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def failure(target: Target, data: bytes) -> str | None:
    """Return the traceback if the target fails."""
    try:
        run(target, data)
    except (Exception, Hung):
        return traceback.format_exc()
    return None


def shrunk(target: Target, data: bytes) -> bytes:
    """A shorter input that fails with the same last line, up to what it says of the input."""
    kind = _kind(failure(target, data))
    deadline = time.monotonic() + SHRINKING
    size = len(data) // 2
    while size:
        for at in range(0, len(data), size):
            shorter = data[:at] + data[at + size :]
            if time.monotonic() > deadline:
                return data
            if len(shorter) < len(data) and _kind(failure(target, shorter)) == kind:
                data = shorter
                break
        else:
            size //= 2
    return data


def _kind(failed: str | None) -> str | None:
    return failed and failed.splitlines()[-1].partition(":")[0]


def with_hypothesis(target: Target, seconds: float, found: Path) -> int:
    """Return the number of inputs tried; the first that fails is written to the file ``found`` and ends the run."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    deadline, tried = time.monotonic() + seconds, 0

    @settings(
        max_examples=ROUND,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target))
    def try_one(data: bytes) -> None:
        nonlocal tried
        if time.monotonic() < deadline and not found.exists():
            tried += 1
            if failure(target, data) is not None:
                found.write_bytes(data)

    while time.monotonic() < deadline and not found.exists():
        seed(time.time_ns())(try_one)()
    return tried


def with_atheris(name: str, seconds: float, directory: Path) -> Never:
    """libFuzzer ends the process. It, too, writes down the input that failed, hung or took too much memory."""
    import atheris

    with atheris.instrument_imports(include=["qga"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus, dictionary = directory / "corpus", directory / "words"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    spelled = ("".join(f"\\x{byte:02x}" for byte in word) for word in (*words(target), *_AWKWARD[:8], *_FOREIGN))
    dictionary.write_text("".join(f'"{word}"\n' for word in spelled if 0 < len(word) <= 4 * 60))
    options = {
        "max_total_time": max(1, round(seconds)),
        "timeout": PATIENCE,
        "max_len": 8192,
        "dict": dictionary,
        "artifact_prefix": f"{directory}/found-",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    atheris.Setup([sys.argv[0], *(f"-{option}={value}" for option, value in options.items()), str(corpus)], target)
    atheris.Fuzz()
    raise SystemExit


def main() -> None:
    engine, name, seconds, directory = sys.argv[1:]
    if engine == "atheris":
        with_atheris(name, float(seconds), Path(directory))
    from tests.fuzz.targets import TARGETS

    print("tried", with_hypothesis(TARGETS[name], float(seconds), Path(directory) / "found-input"))


if __name__ == "__main__":
    main()
