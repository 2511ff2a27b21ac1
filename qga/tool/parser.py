"""The command line: argparse's parsers, made from the table of subcommands and from the schema."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module

from qga.tool.exits import UsageError
from qga.tool.subcommands import COMMANDS
from qga.tool.units import duration

_NEEDS_WORDS = ("exec", "freeze")
_WITH_VALUE = ("-c", "--connect", "--wait", "--timeout")  # options before the subcommand that take the next word
_EPILOG = "TIME is a number of seconds, or has a unit: 500ms, 30s, 2m, 1h. man qga has addresses and exit statuses."


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line. Raises UsageError; argparse itself exits with status 2, or 0 for help."""
    first = _subcommand(words)
    if first is not None and first not in COMMANDS and not _is_generated(first):
        from difflib import get_close_matches

        close = "".join(f" (did you mean {name!r}?)" for name in get_close_matches(first, COMMANDS, 1))
        raise UsageError(f"unknown subcommand {first!r}{close}: qga --help lists them")
    options = parser(first).parse_args(words)
    if getattr(options, "words", None) and options.words[0] == "--":
        del options.words[0]
    if options.subcommand in _NEEDS_WORDS and not options.words:
        raise UsageError(f"expected a command to run: qga {options.subcommand} -- CMD [ARGUMENT...]")
    return options


def parser(first: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command line whose subcommand is ``first``, with nothing of the other subcommands.

    Without ``first``, or where it is not one of the tool's own, it has them all, and the commands of the schema.
    """
    whole = argparse.ArgumentParser(
        prog="qga", description="Talk to the guest agent of a QEMU guest.", epilog=_EPILOG
    )
    whole.add_argument(
        "-c",
        "--connect",
        metavar="ADDRESS",
        help="the agent: unix:/PATH, tcp:HOST:PORT, serial:/DEV, vsock:CID:PORT or libvirt:DOMAIN"
        " (default: $QGA_CONNECT)",
    )
    whole.add_argument(
        "--wait",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="keep trying for TIME until an agent answers, as while the guest boots (default: try once)",
    )
    whole.add_argument(
        "--timeout",
        type=duration,
        metavar="TIME",
        help="how long the agent may take for each command (default: 30s, more for the few that take long)",
    )
    whole.add_argument("--json", action="store_true", help="print JSON, for programs")
    whole.add_argument("--debug", action="store_true", help="show the traceback of every error, on stderr")
    subs = whole.add_subparsers(dest="subcommand", required=True, title="subcommands", metavar="SUBCOMMAND")
    for name, command in COMMANDS.items():
        if first in COMMANDS and name != first:
            continue
        text = f"{command.summary}. {command.details}".rstrip()
        one = subs.add_parser(name, parents=[_common(command.json)], help=command.summary, description=text)
        for argument in command.arguments:
            one.add_argument(*argument.names, **argument.options)
        one.set_defaults(function=command.function)
    if first not in COMMANDS:
        from qga.tool.commands.raw import add_generated

        add_generated(subs, _common(True))
    return whole


def function(options: argparse.Namespace) -> Callable[..., int | None]:
    """Return what carries out the subcommand; importing it may import much."""
    module, name = options.function.split(":")
    found: Callable[..., int | None] = getattr(import_module(f"qga.tool.{module}"), name)
    return found


def _common(json: bool) -> argparse.ArgumentParser:
    """Return the options that may also stand behind the subcommand."""
    parent = argparse.ArgumentParser(add_help=False)
    for name, text in (("--json", "print JSON, for programs"), ("--debug", "show the traceback of every error")):
        shown = text if json or name != "--json" else argparse.SUPPRESS
        parent.add_argument(name, action="store_true", default=argparse.SUPPRESS, help=shown)
    return parent


def _subcommand(words: Sequence[str]) -> str | None:
    """Return the word that is the subcommand, so that only its parser has to be made."""
    for word, before in zip(words, ["", *words], strict=False):
        if before not in _WITH_VALUE and not word.startswith("-"):
            return word
    return None


def _is_generated(word: str) -> bool:
    from qga.protocol.schema import load

    return word in load().commands
