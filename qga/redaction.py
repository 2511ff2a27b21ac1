"""What a log may show of a request: never a secret, never a payload, and little of what is long.

The rule it keeps: what the schema does not know of is not shown either, also not within an error's text. A value that
came in the wrong place is as secret as in the right one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from qga import b64
from qga.errors import CommandError, RequestError
from qga.schema import Command

NOT_SHOWN = "(not shown)"
MAX_TEXT = 256  # characters of a value
MAX_ELEMENTS = 32  # of a list
MAX_ERROR = 4096  # characters of an error: a hook or a helper can say much

_MAX_LOGGED = 200  # characters of a value: a log line is for people
_COMMAND = re.compile("guest(-[a-z0-9]{1,20}){1,8}")
_ENVELOPE = ("execute", "arguments", "id")
_WORD = 4  # characters: what is shorter is a part of many words, and is looked for within quotes only


def shown(command: Command, arguments: Mapping[str, object]) -> dict[str, object]:
    """Valid arguments: of a payload its size and SHA-256, of a secret its size, of what is long its beginning."""
    told: dict[str, object] = {}
    for name, value in arguments.items():
        if name in command.payload:
            told[name] = _digest(value)
        elif name in command.secret:
            told[name] = {"bytes": len(_content(value))}
        else:
            told[name] = _short(value)
    return told


class Called:
    """A command and its arguments as one line of a log, made only if a log wants it."""

    def __init__(self, command: Command, arguments: Mapping[str, object]) -> None:
        self._command = command
        self._arguments = arguments

    def __str__(self) -> str:
        hidden = self._command.secret | self._command.payload
        told = (
            f", {name}: {NOT_SHOWN if name in hidden else repr(value)[:_MAX_LOGGED]}"
            for name, value in self._arguments.items()
        )
        return f"{self._command.name} called{''.join(told)}"


def name_of(message: Mapping[str, object]) -> str:
    """What an unknown command was called, if it looks like the name of one."""
    name = message.get("execute")
    return name if isinstance(name, str) and _COMMAND.fullmatch(name) else NOT_SHOWN


def words(error: Exception, message: Mapping[str, object], command: Command | None, text: str | None = None) -> str:
    """The text of an error that ``message`` led to, without what the message has and no log may show.

    Or another ``text`` that speaks of it, as a traceback does.
    """
    text = str(error) if text is None else text
    for hidden in _hidden(error, message, command):
        if len(hidden) <= len(text):
            text = text.replace(f"'{hidden}'", f"'{NOT_SHOWN}'")
            if len(hidden) >= _WORD:
                text = text.replace(hidden, NOT_SHOWN)
    return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]}... ({len(text)} characters)"


def _hidden(error: Exception, message: Mapping[str, object], command: Command | None) -> Iterator[str]:
    """The strings of a request that may not be shown: of an invalid one, all that are no names of the schema."""
    known = {*_ENVELOPE, name_of(message)}
    arguments = message.get("arguments")
    if command is not None and isinstance(arguments, dict) and not isinstance(error, RequestError):
        known.add(command.name)
        secret = command.secret | command.payload
        for name in secret & arguments.keys():
            yield from _strings(arguments[name])
            if isinstance(arguments[name], str):
                yield from _decoded(arguments[name])
        yield from _strings(message.get("id"))
        return
    if command is not None:
        known.update(command.members)
    yield from (text for text in _strings(message) if text not in known)


def _strings(value: object) -> Iterator[str]:
    """Every string in a value, keys too; it nests as deep as a request may."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if item:
                yield item
        elif isinstance(item, dict):
            pending += (*item, *item.values())
        elif isinstance(item, list):
            pending += item


def _decoded(text: str) -> Iterator[str]:
    """What base64 stands for, where a helper that was given it may have quoted it."""
    if len(text) <= MAX_ERROR:
        try:
            plain = b64.decode(text).decode(errors="replace").strip()
        except CommandError:
            return
        if plain:
            yield plain


def _digest(value: object) -> dict[str, object]:
    import hashlib  # here: with OpenSSL it has 4 MB

    content = _content(value)
    return {"bytes": len(content), "sha256": hashlib.sha256(content, usedforsecurity=False).hexdigest()}


def _content(value: object) -> bytes:
    """What a payload stands for: base64 decoded; of a list each element with a NUL after it, as proc(5) has argv."""
    if isinstance(value, list):
        return b"".join(_raw(str(element)) + b"\0" for element in value)
    text = str(value)
    try:
        return b64.decode(text)
    except CommandError:
        return _raw(text)


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _short(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}... ({len(value)} characters)"
    if isinstance(value, list):
        more = [f"... ({len(value)} elements)"] if len(value) > MAX_ELEMENTS else []
        return [_short(element) for element in value[:MAX_ELEMENTS]] + more
    if isinstance(value, dict):
        return {name: _short(member) for name, member in value.items()}
    return value
