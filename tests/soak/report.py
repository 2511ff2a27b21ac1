"""What a soak run counted, and which of it is a failure."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_GROWTH = 10 * 1024  # KiB after the warm-up: output that was never fetched is kept


@dataclass(frozen=True)
class Process:
    """``rss`` in KiB; ``descriptors`` by what they are of; ``children`` with their state: proc_pid_stat(5)."""

    rss: int
    descriptors: Counter[str]
    children: dict[int, str]

    @classmethod
    def look(cls, pid: int) -> Process:
        directory = Path(f"/proc/{pid}")
        rss = re.search(r"VmRSS:\s+(\d+)", (directory / "status").read_text())
        links = (os.readlink(entry.path) for entry in os.scandir(directory / "fd"))
        children = (directory / f"task/{pid}/children").read_text().split()
        return cls(
            int(rss[1]) if rss else 0,
            Counter(re.sub(r"\d+", "N", link) for link in links),
            {int(child): _state(child) for child in children},
        )


@dataclass
class Report:
    """``abandoned``: requests of hosts that left; ``lost``: those whose reply never came; ``doubled``: replies that
    nobody was waiting for.
    """

    seed: int
    began: float = field(default_factory=time.monotonic)
    requests: int = 0
    replies: int = 0
    abandoned: int = 0
    lost: int = 0
    doubled: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    start: Process | None = None
    end: Process | None = None

    def failures(self) -> Iterator[str]:
        if self.lost:
            yield f"{self.lost} replies were lost"
        if self.doubled:
            yield f"{self.doubled} replies came twice, or to nobody"
        yield from self.wrong
        if any("internal error" in text for text in self.errors):
            yield "an internal error was told"
        if self.start is None or self.end is None:
            yield "the agent is gone"
            return
        if more := self.end.descriptors - self.start.descriptors:
            yield f"descriptors are left open: {dict(more)}"
        if self.end.children:
            yield f"children are left: {self.end.children}"
        if (growth := self.end.rss - self.start.rss) > MAX_GROWTH:
            yield f"memory grew by {growth} KiB"

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        lines = [
            f"seed {self.seed}, {seconds:.0f} s",
            f"requests {self.requests}, replies {self.replies} ({self.replies / seconds:.0f} a second), "
            f"abandoned {self.abandoned}, lost {self.lost}, doubled {self.doubled}",
            f"slowest reply {self.slowest[0] * 1000:.0f} ms: {self.slowest[1]}",
            f"connections left {self.left.total()} times:",
            *(f"  {count:7} {state}" for state, count in self.left.most_common()),
            f"errors {self.errors.total()}:",
            *(f"  {count:7} {text}" for text, count in self.errors.most_common()),
        ]
        for name, process in (("after the warm-up", self.start), ("at the end", self.end)):
            if process is not None:
                lines.append(
                    f"{name}: RSS {process.rss} KiB, {process.descriptors.total()} descriptors, "
                    f"{len(process.children)} children"
                )
        return "\n".join(lines)


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "gone"
