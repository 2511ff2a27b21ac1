"""schema: what the schema says of the commands, what they take and what they return. It needs no agent."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from qga.protocol.schema import Command, Schema, load
from qga.tool import output
from qga.tool.exits import UsageError

Entry = Mapping[str, Any]

_PLAIN = {"int": "integer", "uint64": "integer", "bool": "boolean", "str": "string"}


def schema(options: argparse.Namespace) -> None:
    """Print the list of the commands, or the reference of one."""
    known = load()
    if options.name is None:
        if options.json:
            return output.json(list(known.commands))
        return output.table(("command", "since"), [(c.name, c.since) for c in known.commands.values()])
    if options.name not in known.commands:
        raise UsageError(f"unknown command {options.name!r}: qga schema lists those that this tool knows")
    command, entry = known.commands[options.name], known.definition(options.name)
    types: dict[str, Entry] = {}
    add_types(known, entry, types)
    if options.json:
        return output.json(_as_json(command, types))
    print(f"{command.name} (since {command.since})\n{command.doc}\nreturns: {spelled(command.returns or 'nothing')}")
    if "data" in entry:
        _print_members("argument", "required", entry["data"], entry["members"])
    for name, definition in types.items():
        print(f"\n{name}: {definition['doc']}")
        _print_type(definition)
    return None


def _as_json(command: Command, types: Mapping[str, Entry]) -> dict[str, object]:
    """Return the arguments as a JSON Schema, and the types in the words of schema/*.json."""
    described = {
        name: {**kind, "description": command.argument_docs[name]}
        for name, kind in command.arguments["properties"].items()
    }
    return {
        "name": command.name,
        "since": command.since,
        "doc": command.doc,
        "arguments": {**command.arguments, "properties": described},
        "returns": command.returns,
        "types": list(types.values()),
    }


def add_types(known: Schema, entry: Entry, found: dict[str, Entry]) -> None:
    """Add the definition of every type that an entry mentions, itself or through others, in the order of mention."""
    for reference in _mentioned(entry):
        name = reference[0] if isinstance(reference, list) else reference
        if name[0].isupper() and name not in found:  # the built-in types are in lower case
            found[name] = known.definition(name)
            add_types(known, found[name], found)


def _mentioned(entry: Entry) -> Iterator[str | list[str]]:
    if "enum" in entry:
        return
    yield from entry.get("base", {}).values()
    yield from entry.get("data", {}).values()
    if "returns" in entry:
        yield entry["returns"]


def _print_type(definition: Entry) -> None:
    if "enum" in definition:
        output.table(("value", "meaning"), list(definition["members"].items()))
    elif "struct" in definition:
        _print_members("member", "always", definition["data"], definition["members"])
    elif "union" in definition:
        _print_members("member", "always", definition["base"], definition["members"])
        for value, branch in definition["data"].items():
            print(f"where {definition['discriminator']} is {value}: also the members of {branch}")


def _print_members(what: str, required: str, members: Mapping[str, Any], docs: Mapping[str, str]) -> None:
    """Print a line for each member. ``required`` heads the column that says whether it has to be there."""
    rows = []
    for starred, kind in members.items():
        name = starred.removeprefix("*")
        rows.append((name, spelled(kind), "yes" if name == starred else "no", docs[name]))
    output.table((what, "type", required, "meaning"), rows)


def spelled(reference: str | list[str]) -> str:
    """Return a type in words, such as ``list of string``."""
    if isinstance(reference, list):
        return f"list of {spelled(reference[0])}"
    return _PLAIN.get(reference, reference)
