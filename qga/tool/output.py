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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from json import dumps
from typing import Protocol

_MAX_NOTE = 8192  # characters of a note: what a guest says may be longer
_PIECE = 1 << 20  # characters that are escaped at a time: each may become twelve
_UNDERSCORED = ("supported_commands",)  # the names of the schema that have an underscore; all others have hyphens


class Output(Protocol):
    """A stream of bytes, as far as it is written to."""

    def write(self, data: bytes, /) -> object:
        """Write all of it."""

    def flush(self) -> None:
        """Hand on what was written."""


def json(value: object) -> None:
    """Print a value as JSON, indented on a terminal; replies of ``qga.client.replies`` as the agent spelled them."""
    indent, colon = (2, ": ") if sys.stdout.isatty() else (None, ":")
    try:
        text = dumps(
            value,
            default=_members,
            indent=indent,
            separators=(",", colon),
            ensure_ascii=False,
            allow_nan=False,
        )
        text.encode()
    except (TypeError, ValueError, RecursionError):  # nested too deeply for it, or a name that is not UTF-8
        from qga.protocol import wire

        text = wire.encode(_plain(value)).decode().rstrip("\n")
    for start in range(0, len(text), _PIECE):
        sys.stdout.write(text[start : start + _PIECE].translate(_IN_JSON))
    sys.stdout.write("\n")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, by rich on a terminal where that is installed."""
    if sys.stdout.isatty() and _rich_table(headings, rows):
        return
    cells = [list(headings), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def line(text: str) -> None:
    """Print one line."""
    print(clean(text))


def clean(text: str, keep: str = "") -> str:
    """Return a text with U+FFFD for every character that could steer the terminal, except those in ``keep``."""
    if text.isprintable():
        return text
    return text.translate(_in_text(keep))


def note(text: object) -> None:
    """Print one sentence on stderr."""
    from qga.client.quoting import shown

    words = shown(str(text))
    print(f"qga: {clean(words[:_MAX_NOTE])}{'…' if len(words) > _MAX_NOTE else ''}", file=sys.stderr)


def traceback(error: BaseException) -> None:
    """Print where an error comes from, on stderr: for --debug."""
    import traceback as formatting

    sys.stderr.write(clean("".join(formatting.format_exception(error)), "\n"))


def content() -> Output:
    """Return where the content of a guest's file goes: on a terminal its text, elsewhere every byte as it is."""
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


class _Replacements(dict[int, str]):
    """A table for str.translate that is filled as characters come: unprintable ones are replaced."""

    def __init__(self, keep: str, replace: Callable[[str], str]) -> None:
        self._keep, self._replace = keep, replace

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_kept = character.isprintable() or character in self._keep
        self[code] = character if is_kept else self._replace(character)
        return self[code]


def _escaped(character: str) -> str:
    """Return a character's escape in JSON: a \\uXXXX for each unit of UTF-16, two beyond U+FFFF (RFC 8259)."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


_IN_JSON = _Replacements("\n", _escaped)


@functools.cache
def _in_text(keep: str) -> _Replacements:
    return _Replacements(keep, lambda _: "�")


def _rich_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> bool:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    drawn = Table(*headings, box=box.SIMPLE_HEAD)
    for row in rows:
        drawn.add_row(*(Text(clean(str(cell))) for cell in row))
    Console().print(drawn)
    return True


def _members(value: object) -> dict[str, object]:
    """Return the members of a reply by their names in the schema, without those that the agent left out."""
    if not is_dataclass(value):
        raise TypeError(f"{type(value).__name__} is not a value of JSON")
    named = {field.name: getattr(value, field.name) for field in fields(value)}
    return {
        name if name in _UNDERSCORED else name.replace("_", "-"): member
        for name, member in named.items()
        if member is not None
    }


def _plain(value: object) -> object:
    """Return a value in which replies are replaced by their members, at any depth."""
    if is_dataclass(value):
        value = _members(value)
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
