"""Results as a table, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One measurement of both agents, less is better. ``target`` is what ``ratio`` should be, if set.

    ``floor`` is what the least that Python could do takes, and ``of_floor`` what part of its speed ours should have.
    """

    name: str
    ours: float
    reference: float
    unit: str
    target: float | None = None
    payload: int = 0
    floor: float | None = None
    of_floor: float = 0
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.reference / self.ours if self.ours else float("inf") if self.reference else 1.0

    @property
    def verdict(self) -> str:
        """Whether the targets are met; nothing where the note says it all."""
        met = [] if self.target is None else [self.ratio >= self.target]
        if self.floor is not None:
            met.append(self.floor / self.ours >= self.of_floor)
        return "" if not met else "met" if all(met) else "missed"

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "ratio": round(self.ratio, 3), "verdict": self.verdict}

    def cells(self) -> tuple[str, ...]:
        beside = "" if self.floor is None else f"{self.floor / self.ours:.2f} of the floor (≥ {self.of_floor:.2f})"
        target = "" if self.target is None else f"≥ {self.target:g}"
        shown = (_amount(value, self.unit, self.payload) for value in (self.ours, self.reference))
        return self.name, *shown, f"{self.ratio:.2f}", target, self.verdict, self.note or beside

    def __str__(self) -> str:
        return "  ".join(self.cells())


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    head = ("", "ours", "QEMU's agent", "ratio", "target", "", "")
    lines = [head, tuple("---" for _ in head), *(result.cells() for result in results)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw one bar per ratio on a logarithmic scale; grey where a target was missed."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    shown = [result for result in results if result.target is not None]
    figure, axes = pyplot.subplots(figsize=(8, 0.28 * len(shown) + 0.8))
    colours = ["#2a7f62" if result.verdict == "met" else "#9a9a9a" for result in shown]
    axes.barh([result.name for result in shown], [result.ratio for result in shown], color=colours)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as QEMU's agent")
    for row, result in enumerate(shown):
        axes.text(result.ratio * 1.05, row, f"{result.ratio:.1f}", va="center", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, bbox_inches="tight")


def _amount(value: float, unit: str, payload: int) -> str:
    if unit == "B":
        return f"{value / 1e6:.1f} MB"
    if unit == "/s":
        return f"{value:g}"
    if payload:
        return f"{payload / value / 1e6:,.0f} MB/s"
    return f"{value * 1e6:,.1f} µs" if value < 0.01 else f"{value * 1e3:,.1f} ms"
