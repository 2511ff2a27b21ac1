"""ping, info, call, and a subcommand for every command of the schema."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

import orjson

from qga.client.client import Client
from qga.protocol.schema import Command, Schema, load
from qga.tool import output
from qga.tool.exits import UsageError


def ping(client: Client, options: argparse.Namespace) -> None:
    begun = time.perf_counter()
    client.call_raw("guest-ping")
    seconds = time.perf_counter() - begun
    if options.json:
        output.json({"alive": True, "seconds": round(seconds, 6)})
    elif sys.stdout.isatty():
        print(f"answered in {seconds * 1e3:.1f} ms")


def info(client: Client, options: argparse.Namespace) -> None:
    told = client.call_raw("guest-info")
    if options.json:
        return output.json(told)
    output.line(f"version {told['version']}, {len(told['supported_commands'])} commands")
    rows = [(c["name"], "yes" if c["enabled"] else "no") for c in told["supported_commands"]]
    return output.table(("command", "enabled"), rows)


def call(client: Client, options: argparse.Namespace) -> None:
    known = load().commands.get(options.name)
    arguments = {}
    for pair in options.arguments:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r}: expected NAME=VALUE")
        kind = known.arguments["properties"].get(name, {}) if known else {}
        arguments[name] = value(kind, text, name)
    output.json(client.call_raw(options.name, arguments))


def value(kind: Any, text: str, name: str) -> Any:
    """What a word of the command line means for a member of this JSON Schema; {} if it is not known."""
    if kind.get("type") == "string":
        return text
    try:
        return orjson.loads(text)
    except ValueError:
        if not kind or "anyOf" in kind:
            return text
        raise UsageError(f"{name}: {text!r} is no {kind.get('type', 'value')} in JSON") from None


def add_generated(parsers: Any, parent: argparse.ArgumentParser) -> None:
    """A parser for each command of the schema, with a flag for each of its arguments."""
    known: Schema = load()
    for command in known.commands.values():
        text = command.doc.replace("%", "%%")
        parser = parsers.add_parser(command.name, parents=[parent], help=text.split(". ")[0], description=text)
        needed = command.arguments.get("required", ())
        for name, kind in command.arguments["properties"].items():
            parser.add_argument(
                f"--{name}",
                required=name in needed,
                metavar=kind.get("title", kind.get("type", "value")).upper(),
                dest=f"member_{name}",
                help=_help(command.argument_docs[name], kind),
            )
        parser.set_defaults(run=generated, command=command)


def _help(doc: str, kind: Mapping[str, Any]) -> str:
    """Return what argparse shows of an argument: its doc, and the words of its enum if it has one."""
    words = [word for branch in (kind, *kind.get("anyOf", ())) for word in branch.get("enum", ())]
    return (f"{doc} Words: {', '.join(words)}." if words else doc).replace("%", "%%")


def generated(client: Client, options: argparse.Namespace) -> None:
    command: Command = options.command
    arguments = {}
    for name, kind in command.arguments["properties"].items():
        if (text := getattr(options, f"member_{name}")) is not None:
            arguments[name] = value(kind, text, f"--{name}")
    output.json(client.call_raw(command.name, arguments))
