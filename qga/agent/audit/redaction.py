"""Redaction: decides what a log may show of a request: no secrets, no payloads, and long values only in part.

The rule it keeps: anything that the schema does not know is hidden as well, even within the text of an error. A
secret sent in the wrong place is still a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from qga.protocol import base64
from qga.protocol.errors import CommandError, RequestError
from qga.protocol.schema import Command

NOT_SHOWN = "(not shown)"
MAX_TEXT = 256  # characters of a value
MAX_ELEMENTS = 32  # of a list
MAX_LIST = 2048  # characters of its elements together
MAX_ERROR = 4096  # characters of an error: a hook or a helper can say much
MAX_COMPARISONS = (
    100_000  # of a string with a place in an error; a request with a thousand arguments needs some thousand
)

_MAX_LOGGED = 200  # characters of a value: a log line is for people
_COMMAND = re.compile("guest(-[a-z0-9]{1,20}){1,8}")
_QUOTING = re.compile(r"['\\]")
_ENVELOPE = ("execute", "arguments", "id")
_TYPES: dict[str, type | tuple[type, ...]] = {"integer": int, "number": (int, float), "boolean": bool}
_WORD = 4  # characters: a shorter string is part of many words, and is searched for within quotes only


def shown(
    command: Command | None, arguments: Mapping[str, object], hashed: Callable[[bytes], str]
) -> dict[str, object]:
    """Return the arguments, valid or not, in the form that the audit log may show.

    A payload is shown by its size and hash, a secret by its size, a long value by its beginning, arguments that the
    command does not have by their number. A value that does not have the shape of its argument is not shown.
    """
    shapes = {} if command is None else command.arguments["properties"]
    result: dict[str, object] = {}
    unknown = 0
    for name, value in arguments.items():
        if command is None or name not in shapes:
            unknown += 1
        elif not _fits(shapes[name], value):
            result[name] = NOT_SHOWN
        elif name in command.payload:
            content = _content(value)
            result[name] = {"bytes": len(content), "hash": hashed(content)}
        elif name in command.secret:
            result[name] = {"bytes": len(_content(value))}
        else:
            result[name] = _short(value)
    return {**result, NOT_SHOWN: unknown} if unknown else result


class Called:
    """A command and its arguments as one line of the log of calls; str() makes the line, only where it is written."""

    def __init__(self, command: Command, arguments: Mapping[str, object]) -> None:
        self._command = command
        self._arguments = arguments

    def __str__(self) -> str:
        hidden = self._command.secret | self._command.payload
        shown = (
            f", {name}: {NOT_SHOWN if name in hidden else repr(_short(value))[:_MAX_LOGGED]}"
            for name, value in self._arguments.items()
        )
        return f"{self._command.name} called{''.join(shown)}"


def name_of(message: Mapping[str, object]) -> str:
    """Return the name of an unknown command, if it looks like one."""
    name = message.get("execute")
    return name if isinstance(name, str) and _COMMAND.fullmatch(name) else NOT_SHOWN


def words(error: Exception, message: Mapping[str, object], command: Command | None, text: str | None = None) -> str:
    """Return the text of an error that ``message`` led to, without what no log may show of the message.

    ``text`` replaces the error's own text, with a traceback for example. A long text is cut before it is searched,
    and each string of the message is looked up once, so the work is linear in the size of the message.
    """
    text = str(error) if text is None else text
    shown = _without(text[: 2 * MAX_ERROR], *_hidden(error, message, command))
    return shown if len(text) <= MAX_ERROR else f"{shown}... ({len(text)} characters)"


def _without(text: str, hidden: Iterable[str], known: Collection[str]) -> str:
    """Return the first MAX_ERROR characters of a text, with NOT_SHOWN for what is ``hidden`` and not ``known``.

    A hidden string that goes beyond those characters is recognised by its first MAX_ERROR characters, so no part of
    it is left at the end. Where the search would take more than MAX_COMPARISONS, nothing is shown.
    """
    places = _places(text)
    found = {word for word in hidden if word[:_WORD] in places}.difference(known)
    comparisons = 0
    spans: list[tuple[int, int]] = []
    for word in found:
        comparisons += len(places[word[:_WORD]])
        if comparisons > MAX_COMPARISONS:
            return NOT_SHOWN
        beginning = word[:MAX_ERROR]
        spans += [(at, at + len(word)) for at in places[word[:_WORD]] if text.startswith(beginning, at)]
    pieces: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            pieces += (text[end:start], NOT_SHOWN)
        end = max(end, stop)
    return "".join((*pieces, text[end:MAX_ERROR]))


def _places(text: str) -> dict[str, list[int]]:
    """Return the positions where hidden strings may begin, by their first _WORD characters.

    A shorter string counts only as a whole and within quotes.
    """
    places: dict[str, list[int]] = {}
    for at in range(min(len(text), MAX_ERROR)):
        if at + _WORD <= len(text):
            places.setdefault(text[at : at + _WORD], []).append(at)
        if text[at] == "'":
            for end in range(at + 2, at + 1 + _WORD):
                if text[end : end + 1] == "'":
                    places.setdefault(text[at + 1 : end], []).append(at + 1)
    return places


def _hidden(
    error: Exception, message: Mapping[str, object], command: Command | None
) -> tuple[list[str], Collection[str]]:
    """Return the strings of a request that must not be shown, and those of them that may: names of members."""
    known = {*_ENVELOPE, name_of(message)}
    arguments = message.get("arguments")
    if command is None or not isinstance(arguments, dict) or isinstance(error, RequestError):
        return _strings(message), known.union(() if command is None else command.members)
    secret = [arguments[name] for name in (command.secret | command.payload) & arguments.keys()]
    decoded = [plain for value in secret if isinstance(value, str) for plain in _decoded(value)]
    return [*_strings(secret), *decoded, *_strings(message.get("id"))], ()


def unquoted(text: str) -> str:
    """Return the text of an error about invalid JSON, up to the token or escape that it quotes, which is replaced."""
    if quoting := _QUOTING.search(text):
        quote = quoting.group().strip("\\")
        return f"{text[: quoting.start()]}{quote}{NOT_SHOWN}{quote}"
    return text[:MAX_TEXT]


def _strings(value: object) -> list[str]:
    """Return every string in a value, keys too, at any depth."""
    found: list[str] = []
    parts = [value]
    for part in parts:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict):
            parts += (*part, *part.values())
        elif isinstance(part, list):
            parts += part
    return found


def _decoded(text: str) -> Iterator[str]:
    """Yield the text that base64 stands for, if any: a program that read it on its standard input may quote it."""
    if len(text) <= MAX_ERROR:
        try:
            plain = base64.decode(text).decode(errors="replace").strip()
        except CommandError:
            return
        if plain:
            yield plain


def _fits(shape: Mapping[str, Any], value: object) -> bool:
    """Return whether a value has a shape of the schema.

    The shapes are those that protocol/schema.py makes, and no others. No validator is used: it takes long to import.
    """
    if "anyOf" in shape:
        return any(_fits(branch, value) for branch in shape["anyOf"])
    kind = shape["type"]
    if kind == "string":
        return isinstance(value, str) and ("enum" not in shape or value in shape["enum"])
    if kind == "array":
        return isinstance(value, list) and all(_fits(shape["items"], item) for item in value)
    if kind == "object":
        members = shape["properties"]
        return isinstance(value, dict) and all(
            name in members and _fits(members[name], member) for name, member in value.items()
        )
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _content(value: object) -> bytes:
    """Return the bytes of a payload: base64 decoded; of a list, each element with a NUL at its end, as in proc(5)."""
    if isinstance(value, list):
        return b"".join(_raw(str(element)) + b"\0" for element in value)
    text = str(value)
    try:
        return base64.decode(text)
    except CommandError:
        return _raw(text)


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _short(value: object) -> object:
    """Return a value, cut where it is long: a text at MAX_TEXT, a list at MAX_ELEMENTS and MAX_LIST."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}... ({len(value)} characters)"
    if isinstance(value, list):
        elements: list[object] = []
        room = MAX_LIST
        for element in value[:MAX_ELEMENTS]:
            elements.append(_short(element))
            room -= len(str(elements[-1]))
            if room <= 0:
                break
        return elements if len(elements) == len(value) else [*elements, f"... ({len(value)} elements)"]
    if isinstance(value, dict):
        return {name: _short(member) for name, member in value.items()}
    return value
