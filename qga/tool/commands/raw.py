"""call, and a subcommand for every command of the schema: what the user types, sent as it is.

Only here are replies whatever the agent returns; every other subcommand uses the client's typed ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from qga.client.client import Client
from qga.protocol import jsontext
from qga.protocol.schema import Command, load
from qga.tool import output
from qga.tool.exits import UsageError


def call(client: Client, options: argparse.Namespace) -> None:
    """Run any command, with arguments of the form NAME=VALUE."""
    known = load().commands.get(options.name)
    arguments = {}
    for pair in options.arguments:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"argument {pair!r} of {options.name}: expected NAME=VALUE")
        kind = known.arguments["properties"].get(name, {}) if known else {}
        arguments[name] = _value(kind, text, name)
    output.json(client.call_raw(options.name, arguments))


def add_generated(parsers: Any, parent: argparse.ArgumentParser) -> None:
    """Add a parser for each command of the schema, with an option for each of its arguments."""
    for command in load().commands.values():
        text = command.doc.replace("%", "%%")
        parser = parsers.add_parser(command.name, parents=[parent], help=text.split(". ")[0], description=text)
        required = command.arguments.get("required", ())
        for name, kind in command.arguments["properties"].items():
            parser.add_argument(
                f"--{name}",
                required=name in required,
                metavar=kind.get("title", kind.get("type", "value")).upper(),
                dest=f"member_{name}",
                help=_help(command.argument_docs[name], kind),
            )
        parser.set_defaults(function="commands.raw:generated", command=command)


def generated(client: Client, options: argparse.Namespace) -> None:
    """Run a command of the schema, with arguments from its options."""
    command: Command = options.command
    arguments = {}
    for name, kind in command.arguments["properties"].items():
        if (text := getattr(options, f"member_{name}")) is not None:
            arguments[name] = _value(kind, text, f"--{name}")
    output.json(client.call_raw(command.name, arguments))


def _help(doc: str, kind: Mapping[str, Any]) -> str:
    """Return what argparse shows of an argument: its doc, and the words of its enum if it has one."""
    words = [word for branch in (kind, *kind.get("anyOf", ())) for word in branch.get("enum", ())]
    return (f"{doc} Words: {', '.join(words)}." if words else doc).replace("%", "%%")


def _value(kind: Mapping[str, Any], text: str, name: str) -> Any:
    """Return what a word of the command line means for a member of this JSON Schema; {} if that is unknown."""
    if kind.get("type") == "string":
        return text
    try:
        return jsontext.loads(text.encode())
    except ValueError:
        if not kind or "anyOf" in kind:
            return text
        raise UsageError(f"{name}: expected {kind.get('type', 'a value')} in JSON, got {text!r}") from None
