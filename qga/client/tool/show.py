"""What is printed: rich tables on a terminal where rich is installed, plain columns otherwise, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def json(value: Any) -> None:
    import orjson

    option = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    sys.stdout.write(orjson.dumps(value, option=option).decode() + "\n")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if sys.stdout.isatty() and _rich_table(headers, rows):
        return
    words = [list(headers), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in words) for column in range(len(headers))]
    for row in words:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def clean(text: str) -> str:
    """Without what a guest could send to steer the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def note(text: object) -> None:
    """One sentence on stderr."""
    print(f"qga: {clean(str(text))}", file=sys.stderr)


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> bool:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    shown = Table(*headers, box=box.SIMPLE_HEAD)
    for row in rows:
        shown.add_row(*(Text(clean(str(cell))) for cell in row))
    Console().print(shown)
    return True
