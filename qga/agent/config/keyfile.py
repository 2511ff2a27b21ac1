r"""The key-file format of GLib, as qemu-ga.conf uses it: text in, groups of entries with their lines out.

The rule it keeps: it does not know which keys or file it reads, so an error names the line, and the caller the file.
configparser is not used: it reads an indented key as a continuation, and knows neither escapes nor line numbers.

Source: the "Desktop Entry" key-file syntax as GLib documents it (``[group]``, ``key=value``, ``#`` comments,
the escapes ``\s \n \t \r \\``). Three differences: a byte order mark at the start is skipped, blanks at the end of
a value do not count (write ``\s``), and a group or key that is given twice is refused: GLib takes the last one, and
what the first one forbids would be lost.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_ESCAPED = {"\n": r"\n", "\r": r"\r", "\\": r"\\"}
_BOM = b"\xef\xbb\xbf"


class KeyFileError(Exception):
    """A line is not key-file syntax; ``line`` is its number, from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line = line


class Entry(NamedTuple):
    """One ``key=value``: the value as written, without blanks around it, and the number of its line, from 1."""

    raw: str
    line: int

    def string(self) -> str:
        """Return the value with its escapes decoded.

        Raises KeyFileError for bytes that are not UTF-8, a NUL byte, and an unknown escape.
        """
        if any("\udc80" <= char <= "\udcff" for char in self.raw):
            raise KeyFileError(self.line, "the value is not valid UTF-8")
        if "\0" in self.raw:
            raise KeyFileError(self.line, "the value holds a NUL byte")

        def undo(match: re.Match[str]) -> str:
            char = match[1]
            if char not in _ESCAPES:
                raise KeyFileError(self.line, rf"unknown escape {match[0]}, expected one of \s \n \t \r \\")
            return _ESCAPES[char]

        return re.sub(r"\\(.?)", undo, self.raw, flags=re.DOTALL)


class Group(dict[str, Entry]):
    """The entries by key; ``line`` is the number of the line ``[group]``, from 1, or 0 if there is no such line."""

    def __init__(self, line: int = 0) -> None:
        super().__init__()
        self.line = line


Groups = dict[str, Group]


def parse(data: bytes) -> Groups:
    """Read a whole key-file. Raises KeyFileError.

    An error is a line that is not blank, ``[group]``, ``key=value`` or a comment, or a group or key that is given
    twice.
    """
    groups: Groups = {}
    current: Group | None = None
    text = data.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            name = _group(line, number)
            if name in groups:
                raise KeyFileError(
                    number, f"[{name}] is given again, first in line {groups[name].line}: expected one"
                )
            current = groups[name] = Group(number)
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise KeyFileError(number, f"{_shown(line)} is neither key=value, [group] nor # comment")
        if current is None:
            raise KeyFileError(number, f"{_shown(line)} is before any [group]")
        key = key.strip()
        if key in current:
            first = current[key].line
            raise KeyFileError(
                number, f"{_shown(key)} is given again, first in line {first}: expected one line of it"
            )
        current[key] = Entry(value.strip(" \t"), number)
    return groups


def escape(value: str) -> str:
    """Return a string with escapes, so that parse() reads it back unchanged."""
    body = "".join(_ESCAPED.get(char, char) for char in value)
    inner = body.strip(" \t")
    start = len(body) - len(body.lstrip(" \t"))
    return _blanks(body[:start]) + inner + _blanks(body[start + len(inner) :])


def _blanks(text: str) -> str:
    return text.replace(" ", r"\s").replace("\t", r"\t")


def _group(line: str, number: int) -> str:
    name = line[1:-1]
    if not line.endswith("]") or not name or "[" in name or "]" in name:
        raise KeyFileError(number, f"{_shown(line)} is not a group, expected [name]")
    return name


def _shown(line: str) -> str:
    """Return a line as an error shows it: printable, and at most 60 characters."""
    return ascii(line if len(line) <= 60 else line[:57] + "...")
