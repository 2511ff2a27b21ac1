"""Writes ``qga/client/commands.py``, ``replies.py`` and ``shapes.py`` from the schema: ``make client``.

A reply's struct is a frozen dataclass, QAPI's name without Guest; an enum is a Literal of its words, of which a newer
agent may say others; a union is one class of the members of its base and its branch.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from qga.protocol import schema
from tests.repository import REPOSITORY

PACKAGE = REPOSITORY / "qga" / "client"
WORDS = {"int": "int", "uint64": "int", "bool": "bool", "str": "str", "number": "float"}
HEAD = "{doc}\n\nGenerated from schema/ by tests/client_source.py: change that, not this.\n"

# Operations that are methods of the client as well: module, function.
OPERATIONS = (("run", "run"), ("download", "download"), ("copy", "upload"), ("listing", "list_tree"))

Entry = dict[str, Any]


def definitions() -> list[Entry]:
    names = sorted(path for path in Path(schema.directory()).glob("*.json") if path.name != "meta.json")
    return [entry for path in names for entry in orjson.loads(path.read_bytes())]


class Source:
    def __init__(self) -> None:
        self.entries = {next(iter(entry.values())): entry for entry in definitions()}
        self.commands = [entry for entry in self.entries.values() if "command" in entry]
        self.needed: dict[str, None] = {}  # structs of replies, each after those that it holds
        for command in self.commands:
            self._need(command.get("returns"))
            for reference in command.get("data", {}).values():
                self._need(reference)

    def _class(self, reference: Any) -> str | None:
        """The class of a type, or of a list's elements; None for what is not an object."""
        entry = self.entries.get(_element(reference), {})
        return _name(_element(reference)) if "struct" in entry or "union" in entry else None

    def _members(self, entry: Entry) -> dict[str, Any]:
        if "union" not in entry:
            return dict(entry["data"])
        (branch,) = entry["data"].values()
        return {**entry["base"], **self.entries[branch]["data"]}

    def _docs(self, entry: Entry) -> dict[str, str]:
        """What each of the members means."""
        if "union" not in entry:
            return dict(entry["members"])
        (branch,) = entry["data"].values()
        return {**entry["members"], **self.entries[branch]["members"]}

    def _need(self, reference: Any) -> None:
        if reference is None or self._class(reference) is None:
            return
        name = _element(reference)
        for member in self._members(self.entries[name]).values():
            self._need(member)
        self.needed[name] = None

    def annotation(self, reference: Any, *, argument: bool = False) -> str:
        if isinstance(reference, list):
            return f"{'Sequence' if argument else 'list'}[{self.annotation(reference[0], argument=argument)}]"
        if reference in WORDS:
            return WORDS[reference]
        entry = self.entries[reference]
        if "alternate" in entry:
            return " | ".join(dict.fromkeys(self.annotation(branch) for branch in entry["data"].values()))
        return _name(reference)

    def dataclass(self, name: str) -> Iterator[str]:
        entry = self.entries[name]
        members, docs = self._members(entry), self._docs(entry)
        yield "\n\n@dataclass(frozen=True, slots=True)"
        yield f"class {_name(name)}(Struct):"
        yield _doc(entry["doc"], 4)
        required = [member for member in members if not member.startswith("*")]
        optional = [member.removeprefix("*") for member in members if member.startswith("*")]
        for member in required:
            yield f"    {_field(member)}: {self.annotation(members[member])}"
            yield _doc(docs[member], 4)
        for member in optional:
            yield f"    {_field(member)}: {self.annotation(members['*' + member])} | None = None"
            yield _doc(docs[member], 4)

    def replies(self) -> str:
        lines = [
            f'"""{HEAD.format(doc="What commands return: members that a newer agent adds are ignored, optional ones that are missing are None.")}"""'
        ]
        lines += [
            "from __future__ import annotations\n",
            "from dataclasses import dataclass",
            "from typing import Literal, TypeAlias\n",
            "from qga.client.structs import Struct",
            "from qga.client.structs import read as read\n",
        ]
        for name, entry in self.entries.items():
            if "enum" in entry:
                words = ", ".join(f'"{word}"' for word in entry["data"])
                lines += [f"{_name(name)}: TypeAlias = Literal[{words}]", _enum_doc(entry), ""]
        for name in self.needed:
            lines += self.dataclass(name)
        return "\n".join(lines) + "\n"

    def method(self, command: Entry, *, asynchronous: bool) -> Iterator[str]:
        data, returns = command.get("data", {}), command.get("returns")
        parameters = ["self"]
        for member in sorted(data, key=lambda member: member.startswith("*")):
            words = self.annotation(data[member], argument=True)
            parameters.append(f"{_field(member)}: {words}{' | None = None' if member.startswith('*') else ''}")
        result = "None" if returns is None else self.annotation(returns)
        wait = "await " if asynchronous else ""
        name = command["command"]
        yield f"\n    {'async ' if asynchronous else ''}def {_field(name)}({', '.join([*parameters, '*', 'timeout: float | None = None'])}) -> {result}:"
        yield _doc(f"{command['doc']} Since QEMU {command['since']}.", 8, command.get("members", {}))
        pairs = []
        for member in data:
            field, key = _field(member), member.lstrip("*")
            value = f"[item.write() for item in {field}]" if self._class(data[member]) else field
            if isinstance(data[member], list) and not self._class(data[member]):
                value = f"list({field})"
            if member.startswith("*") and value != field:
                value = f"None if {field} is None else {value}"
            pairs.append(f'"{key}": {value}')
        verb = "_read" if self._class(returns) else "_ask"
        ask = f'{wait}self.{verb}("{name}", {{{", ".join(pairs)}}}, timeout)'
        if returns is None:
            yield f"        {ask}"
        else:
            yield f"        value: {result} = {ask}"
            yield "        return value"

    def commands_module(self) -> str:
        silent = [command["command"] for command in self.commands if command.get("success-response") is False]
        classes = sorted({name for command in self.commands for name in self._mentioned(command)})
        lines = [
            f'"""{HEAD.format(doc="A typed method for every command of the schema and for operations, blocking and for asyncio.")}"""'
        ]
        lines += [
            "# ruff: noqa: A002\nfrom __future__ import annotations\n",
            "from collections.abc import Awaitable, Iterable, Mapping, Sequence",
        ]
        lines += ["from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar\n"]
        lines += [
            "if TYPE_CHECKING:",
            "    from qga.client.operations.listing import TreeEntry",
            "    from qga.client.operations.outcome import Outcome, Progress",
            "    from qga.client.operations.run import Completed",
            f"    from qga.client.replies import {', '.join(classes)}\n",
            'T = TypeVar("T")\n',
        ]
        lines += [
            "# Commands that answer only when they fail.",
            f"SILENT = frozenset({{{', '.join(map(repr, silent))}}})",
        ]
        for name, word in (("Commands", ""), ("AsyncCommands", "async ")):
            lines += [
                f'\n\nclass {name}:\n    """``timeout``: seconds; by default the client\'s, or what suits the command."""\n'
            ]
            lines += [
                f"    {word}def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:"
            ]
            lines += ["        raise NotImplementedError\n"]
            lines += [
                f"    {word}def _read(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:",
                f"        value = {'await ' if word else ''}self._ask(command, arguments, timeout)",
                "        from qga.client.replies import read\n",
                "        return read(command, value)",
            ]
            lines += [
                f"\n    {word}def carry_out(self, operation: Awaitable[T]) -> T:",
                '        """Do what an operation requests, one after the other. What goes wrong is raised in it."""',
                "        raise NotImplementedError",
            ]
            for command in self.commands:
                lines += self.method(command, asynchronous=bool(word))
            for module, name in OPERATIONS:
                lines += operation(module, name, asynchronous=bool(word))
        return "\n".join(lines) + "\n"

    def shapes_module(self) -> str:
        """What a reply is held to, as data: names of types, a list for a list."""
        unions = [name for name in self.needed if "union" in self.entries[name]]
        held = {
            name: self._plain(dict(self._members(self.entries[name]))) for name in self.needed if name not in unions
        }
        choices = {}
        for name in unions:
            entry = self.entries[name]
            branches = {word: self._plain(self.entries[branch]["data"]) for word, branch in entry["data"].items()}
            choices[name] = (self._plain(entry["base"]), entry["discriminator"], branches)
        returns = {command["command"]: self._plain(command.get("returns")) for command in self.commands}
        lines = [
            f'"""{HEAD.format(doc="What the reply of each command is made of: ``qga.client.reading`` holds replies to it.")}"""',
            "# fmt: off",
            "from __future__ import annotations\n",
            "from typing import TypeAlias\n",
            "# int, uint64, bool, str, number, or a name of OBJECTS or UNIONS; a list of one is a list of those.",
            'Shape: TypeAlias = "str | list[Shape]"',
            'Members: TypeAlias = "dict[str, Shape]"  # * before a name: it may be missing',
        ]
        for name, kind, table in (
            ("RETURNS", "dict[str, Shape | None]", returns),
            ("OBJECTS", "dict[str, Members]", held),
            ("UNIONS", "dict[str, tuple[Members, str, dict[str, Members]]]", choices),
        ):
            lines += [f"\n{name}: {kind} = {{"]
            for key, value in table.items():
                lines += textwrap.wrap(
                    f'"{key}": {_literal(value)},',
                    width=118,
                    initial_indent=" " * 4,
                    subsequent_indent=" " * 8,
                    break_on_hyphens=False,
                    break_long_words=False,
                )
            lines += ["}"]
        return "\n".join(lines) + "\n"

    def _plain(self, reference: Any) -> Any:
        """A type by its name; words of an enum as str."""
        if isinstance(reference, dict):
            return {name: self._plain(member) for name, member in reference.items()}
        if isinstance(reference, list):
            return [self._plain(reference[0])]
        return "str" if "enum" in self.entries.get(reference, {}) else reference

    def _mentioned(self, command: Entry) -> Iterator[str]:
        for reference in [command.get("returns"), *command.get("data", {}).values()]:
            entry = self.entries.get(_element(reference), {})
            for name in entry["data"].values() if "alternate" in entry else [reference]:
                if "enum" in self.entries.get(_element(name), {}) or self._class(name):
                    yield _name(_element(name))


def operation(module: str, name: str, *, asynchronous: bool) -> Iterator[str]:
    """A method of the same signature, which carries it out."""
    tree = ast.parse((PACKAGE / "operations" / f"{module}.py").read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name == name]
    assert found.returns is not None
    given = [*(one.arg for one in found.args.args), *(f"{one.arg}={one.arg}" for one in found.args.kwonlyargs)]
    word, wait = ("async ", "await ") if asynchronous else ("", "")
    yield f"\n    {word}def {name}(self, {ast.unparse(found.args)}) -> {ast.unparse(found.returns)}:"
    doc = "\n\n".join(textwrap.fill(part, 108) for part in (ast.get_docstring(found) or "").split("\n\n"))
    yield textwrap.indent(f'"""{doc}\n"""', " " * 8, lambda line: bool(line.strip()))
    yield f"        from qga.client.operations.{module} import {name}\n"
    yield f"        return {wait}self.carry_out({name}({', '.join(given)}))"


def _literal(value: Any) -> str:
    """As Python source, with double quotes."""
    return repr(value).replace("'", '"')


def _element(reference: Any) -> str:
    return str(reference[0] if isinstance(reference, list) else reference)


def _name(reference: str) -> str:
    return reference.removeprefix("Guest")


def _field(member: str) -> str:
    return member.lstrip("*").replace("-", "_")


def _enum_doc(entry: Entry) -> str:
    """What an enum is, and each of its words."""
    words = [
        textwrap.fill(f'"{word}": {doc}', 114, initial_indent="    ", subsequent_indent=" " * 8)
        for word, doc in entry["members"].items()
    ]
    return "\n".join([f'"""{entry["doc"]}', "", *words, '"""'])


def _doc(text: str, indent: int, arguments: Mapping[str, str] | None = None) -> str:
    """A docstring, with what the arguments mean below it."""
    if not arguments and len(text) + indent + 6 <= 118:
        return textwrap.indent(f'"""{text}"""', " " * indent)
    summary, rest = text, ""
    if len(text) > 116 - indent - 3:
        summary, _, rest = text.partition(". ")
    parts = [textwrap.fill(summary.removesuffix(".") + ".", 116 - indent - 3)]
    if rest:
        parts.append(textwrap.fill(rest, 116 - indent))
    if arguments:
        docs = [
            textwrap.fill(f"{_field(name)}: {doc}", 116 - indent - 4, subsequent_indent="    ")
            for name, doc in arguments.items()
        ]
        parts.append("Args:\n" + textwrap.indent("\n".join(docs), "    "))
    body = "\n\n".join(parts).replace("\\", "\\\\")
    return textwrap.indent(f'"""{body}\n"""', " " * indent, lambda line: bool(line.strip()))


def formatted(source: str, name: str) -> str:
    """As ruff writes it: imports in order, lines of the house's length."""
    ruff = [sys.executable, "-m", "ruff"]
    for action in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        done = subprocess.run(
            [*ruff, *action, "--stdin-filename", str(PACKAGE / name), "-"],
            input=source,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{name}: {done.stdout}{done.stderr}")
        source = done.stdout
    return source


def files() -> dict[str, str]:
    source = Source()
    made = {
        "replies.py": source.replies(),
        "commands.py": source.commands_module(),
        "shapes.py": source.shapes_module(),
    }
    return {name: formatted(text, name) for name, text in made.items()}


def main() -> None:
    for name, text in files().items():
        (PACKAGE / name).write_text(text)
        print(f"wrote qga/client/{name}")


if __name__ == "__main__":
    main()
