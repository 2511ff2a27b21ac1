"""Writes ``docs/qga.1`` from the tool's parsers and the schema, and ``docs/qemu-ga.8``: ``make client``; man(7).

(argparse-manpage prints everything twice, and has no room for what a parser does not know.)
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from qga import __version__
from qga.agent.config import cmdline
from qga.agent.config.options import CONFIG_PATH, POLICY
from qga.protocol import schema
from qga.tool import exits, subcommands
from qga.tool.commands.schema import Entry, add_types, spelled
from qga.tool.parser import parser as parser_of
from tests.repository import REPOSITORY

PAGE = REPOSITORY / "docs" / "qga.1"
AGENTS_PAGE = REPOSITORY / "docs" / "qemu-ga.8"

_ADDRESSES = {
    "unix:/PATH, or a path": "the unix socket of a QEMU chardev, or of an agent that listens on one",
    "tcp:HOST:PORT": "the TCP socket of a QEMU chardev",
    "serial:/dev/pts/N": "a serial port or a pseudoterminal",
    "vsock:CID:PORT": "an agent that listens on a vsock",
    "libvirt:DOMAIN, libvirt+ssh://[USER@]HOST/DOMAIN": "a libvirt domain, by libvirt-python or else virsh",
}
_ENVIRONMENT = {
    "QGA_CONNECT": "the agent's address, if there is no -c",
    "VISUAL, EDITOR": "the editor that qga edit runs",
}
_EXAMPLES = (
    "qga -c /run/agent.sock --wait 2m ping",
    "qga exec -- uname -a",
    "qga cp -r :/etc/nginx backup",
    "qga cp :/var/log/syslog - | grep error",
    "qga freeze --timeout 60 -- lvcreate -s -n snap -L 1G vg/guest",
    "qga snapshot --qmp /run/qmp.sock",
)


_FILES = {
    CONFIG_PATH: "the configuration: a key for most of the options, by the long name of the option",
    POLICY: "rules about commands and their arguments, in TOML",
    "/var/run/qga.state.isfrozen": "exists while filesystems are frozen, for the agent that is started next",
}


def agents_page() -> str:
    lines = [
        f'.TH QEMU\\-GA 8 "" "qga {__version__}" "Guest agents of QEMU"',
        *(".SH NAME", r"qemu\-ga \- carry out what the host asks of a QEMU guest"),
        *(".SH SYNOPSIS", r".B qemu\-ga", r"[\fB\-m\fR \fIMETHOD\fR \fB\-p\fR \fIPATH\fR] [\fIOPTION\fR]..."),
        *(".SH OPTIONS", *_entries(dict(cmdline.entries()))),
        *(".SH FILES", *_entries(_FILES)),
    ]
    return "\n".join(lines) + "\n"


def page() -> str:
    whole = parser_of(None)
    (subparsers,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    generated = {name: parser for name, parser in subparsers.choices.items() if name not in subcommands.COMMANDS}
    lines = [
        f'.TH QGA 1 "" "qga {__version__}" "Guest agents of QEMU"',
        *(".SH NAME", r"qga \- talk to the guest agent of a QEMU guest"),
        *(".SH SYNOPSIS", r".B qga", r"[\fIOPTION\fR]... \fISUBCOMMAND\fR [\fIARGUMENT\fR]..."),
        *(".SH OPTIONS", *_arguments(whole)),
        *(".SH SUBCOMMANDS", *_commands({name: subparsers.choices[name] for name in subcommands.COMMANDS})),
        ".SH SUBCOMMANDS FOR THE AGENT'S COMMANDS",
        "Each takes the arguments as options (in JSON, unless they are strings) and prints the reply as JSON.",
        *_commands(generated),
        *(".SH TYPES", "What the commands of the agent take and return. A member in brackets may be missing."),
        *_types(),
        *(".SH ADDRESSES", *_entries(_ADDRESSES)),
        *(".SH EXIT STATUS", *_entries({str(status): meaning for status, meaning in exits.MEANING.items()})),
        *(".SH ENVIRONMENT", *_entries(_ENVIRONMENT)),
        *(".SH EXAMPLES", ".nf", *map(_text, _EXAMPLES), ".fi"),
    ]
    return "\n".join(lines) + "\n"


def _commands(parsers: dict[str, argparse.ArgumentParser]) -> Iterator[str]:
    for name, parser in parsers.items():
        words = [_word(action) for action in parser._get_positional_actions()]
        yield f".SS {' '.join([_text(name), *words])}"
        yield _text((parser.description or "").replace("%%", "%"))
        yield from _arguments(parser)
        command = parser.get_default("command")
        if command is not None and command.returns is not None:
            yield from (".PP", _text(f"Returns: {spelled(command.returns)}."))


def _types() -> Iterator[str]:
    """What ``qga schema`` prints of the types, each of them once."""
    known = schema.load()
    types: dict[str, Entry] = {}
    for name in known.commands:
        add_types(known, known.definition(name), types)
    for name, definition in types.items():
        yield from (f".SS {_text(name)}", _text(definition["doc"]))
        docs = definition.get("members", {})
        if "enum" in definition:
            yield from _entries(docs)
        elif docs:
            members = definition.get("base") or definition["data"]
            yield from _entries({_member(member, kind): docs[member.lstrip("*")] for member, kind in members.items()})
        if "union" in definition:
            branches = [
                f"where {definition['discriminator']} is {value}, the members of {branch}"
                for value, branch in definition["data"].items()
            ]
            yield from (".PP", _text(f"Also, {'; '.join(branches)}."))


def _member(name: str, kind: str | list[str]) -> str:
    shown = f"[{name[1:]}]" if name.startswith("*") else name
    return f"{shown}: {spelled(kind)}"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest == "help" or (action.dest in ("json", "debug") and parser.prog != "qga"):
            continue  # all have them
        if not action.option_strings and not action.help:
            continue  # its name says it
        yield ".TP"
        options = ", ".join(rf"\fB{_text(word)}\fR" for word in action.option_strings)
        yield options + _value(action) if options else rf"\fI{_text(_name(action))}\fR"
        yield _text((action.help or "the command's argument of this name").replace("%%", "%"))


def _value(action: argparse.Action) -> str:
    return rf" \fI{_text(str(action.metavar or action.dest.upper()))}\fR" if action.nargs != 0 else ""


def _word(action: argparse.Action) -> str:
    """A positional argument, in brackets where it may be left out."""
    shown = rf"\fI{_text(_name(action))}\fR"
    return {"?": f"[{shown}]", "*": f"[{shown}]...", "...": f"[{shown}]...", "+": f"{shown}..."}.get(
        str(action.nargs), shown
    )


def _name(action: argparse.Action) -> str:
    return "|".join(action.choices) if action.choices else str(action.metavar or action.dest.upper())


def _entries(meanings: dict[str, str]) -> Iterator[str]:
    for name, meaning in meanings.items():
        yield from (".TP", rf"\fB{_text(name)}\fR", _text(meaning))


def _text(text: str) -> str:
    """What man(7) would read as something else, escaped; without Markdown's marks."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("`", "").replace("…", "...")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", escaped)


if __name__ == "__main__":
    PAGE.write_text(page())
    AGENTS_PAGE.write_text(agents_page())
