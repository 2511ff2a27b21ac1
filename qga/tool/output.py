"""What is printed: rich tables on a terminal where rich is installed, plain columns otherwise, JSON for programs.

The rule kept here: nothing that a guest says moves the terminal. Control characters (C0, DEL, C1), what turns the
direction of text around, other formatting without a shape, and line separators are replaced in text and escaped in
JSON: whatever ``str.isprintable`` does not let through. Everything that a subcommand prints goes through this module;
only a program's own output (exec, shell) is as the program wrote it.
"""

from __future__ import annotations

import codecs
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

_LONGEST = 8192  # characters of a note: what a guest says may be longer
_PIECE = 1 << 20  # characters that are escaped at a time: each may become twelve


class Output(Protocol):
    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> None: ...


def json(value: Any) -> None:
    import orjson

    option = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
    try:
        text = orjson.dumps(value, option=option).decode()
    except TypeError:  # nested too deeply for it, or a name that is not UTF-8
        from qga.protocol import wire

        text = wire.encode(value).decode().rstrip("\n")
    for start in range(0, len(text), _PIECE):
        sys.stdout.write(text[start : start + _PIECE].translate(_IN_JSON))
    sys.stdout.write("\n")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if sys.stdout.isatty() and _rich_table(headers, rows):
        return
    words = [list(headers), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in words) for column in range(len(headers))]
    for row in words:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def line(text: str) -> None:
    print(clean(text))


def clean(text: str, keep: str = "") -> str:
    """With U+FFFD for what could steer the terminal, but what is in ``keep``."""
    if text.isprintable():
        return text
    return text.translate(_in_text(keep))


def note(text: object) -> None:
    """One sentence on stderr."""
    from qga.client.operations.quoting import shown

    words = shown(str(text))
    print(f"qga: {clean(words[:_LONGEST])}{'…' if len(words) > _LONGEST else ''}", file=sys.stderr)


def content() -> Output:
    """Where the content of a guest's file goes: on a terminal only its text, elsewhere every byte as it is."""
    return _Text() if sys.stdout.isatty() else sys.stdout.buffer


class _Text:
    """Bytes as lines of text; a character that is cut in two by a write is whole in the next one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def write(self, data: bytes, /) -> None:
        text = self._held + self._decoder.decode(data)
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix(self._held).replace("\r\n", "\n")
        sys.stdout.write(clean(text, "\n\t"))

    def flush(self) -> None:
        sys.stdout.flush()


class _Letters(dict[int, str]):
    """What is shown of each letter, found once. For str.translate, whose result has no object for every letter."""

    def __init__(self, keep: str, instead: Callable[[str], str]) -> None:
        self._keep, self._instead = keep, instead

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        self[code] = letter if letter.isprintable() or letter in self._keep else self._instead(letter)
        return self[code]


def _escaped(letter: str) -> str:
    """In JSON: the same value, spelled with U+….

    UTF-16, as RFC 8259 has it: two of them beyond the first plane.
    """
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


_IN_JSON = _Letters("\n", _escaped)


@functools.cache
def _in_text(keep: str) -> _Letters:
    return _Letters(keep, lambda _: "�")


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
