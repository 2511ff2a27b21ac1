"""The screen of ``qga top``, by rich."""

from __future__ import annotations

import time

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qga.tool import output, units
from qga.tool.commands.sampling import Rates, amount

_AROUND = 4  # lines of a table beside its rows


def drawn(name: str, found: Rates, interval: float, height: int) -> RenderableType:
    """Return as much of it as ``height`` lines hold."""
    parts: list[RenderableType] = [_head(name, found, interval)]
    if found.processors:
        parts.append(_processors(found.processors, (height - 1) // 2))
    tables = [(title, of) for title, of in (("disk", found.disks), ("interface", found.interfaces)) if of]
    left = height - 1 - min(len(found.processors or ()), (height - 1) // 2)
    for number, (title, by_name) in enumerate(tables):
        rows = max(1, left // (len(tables) - number) - _AROUND)
        parts.append(_table(title, by_name, rows))
        left -= min(len(by_name), rows) + _AROUND
    return Group(*parts)


def _head(name: str, found: Rates, interval: float) -> Text:
    head = Text.assemble((output.clean(name), "bold"), f"  {time.strftime('%H:%M:%S')}, every {interval:g} s")
    if found.load:
        head.append(f"  load {units.load(found.load)}")
    head.append("  q: quit", "dim")
    return head


def _processors(busy: dict[str, float], rows: int) -> Table:
    table = Table.grid(padding=(0, 1))
    for name, part in list(busy.items())[:rows]:
        style = "green" if part < 0.7 else "yellow" if part < 0.9 else "red"
        bar = ProgressBar(total=1, completed=part, width=40, complete_style=style, finished_style=style)
        table.add_row(name, bar, Text(f"{part:4.0%}", style))
    return table


def _table(title: str, by_name: dict[str, dict[str, float]], rows: int) -> Table:
    """Return the first ``rows`` of them, those that do something before the others if not all have room."""
    columns = list(next(iter(by_name.values())))
    names = list(by_name)
    if len(names) > rows:
        names.sort(key=lambda name: not any(by_name[name].values()))
    table = Table(title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(f"{column}/s", justify="right", min_width=11)
    for name in names[:rows]:
        table.add_row(Text(output.clean(name)), *(amount(column, by_name[name][column]) for column in columns))
    return table
