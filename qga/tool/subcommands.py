"""The command line: every subcommand, its arguments, and the function that does it."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from qga.tool.units import Lines, duration, lines, positive

Argument = tuple[tuple[str, ...], dict[str, Any]]


def _a(*names: str, **options: Any) -> Argument:
    return names, options


_WORDS = _a(
    "words", nargs=argparse.REMAINDER, metavar="CMD", help="the command and its arguments; -- may stand before"
)
_PATH = _a("path", metavar="PATH", help="in the guest")
_GONE = [_a("--wait", action="store_true", dest="gone", help="until the guest is gone")]
_UNITS = [
    _a("what", choices=["list", "online", "offline"], nargs="?", default="list"),
    _a("numbers", nargs="*", type=int, metavar="N"),
]
_INSECURE = _a(
    "--insecure",
    action="store_true",
    help="where the guest runs no programs, write in place all the same: by a path that its users may redirect, and"
    " to a new file that all of them may read and write",
)
_LIMIT = {"dest": "limit", "type": duration, "metavar": "TIME"}

_TTY = [
    _a("--pty", choices=["python3", "script"], help="what makes the terminal there; by default what there is"),
    _a(
        "--linger",
        type=duration,
        default=60.0,
        metavar="TIME",
        help="how long what runs there lives on when this tool was killed, or is not heard of (1m)",
    ),
]

# Subcommand: what it is, where its function is, its arguments.
COMMANDS: dict[str, tuple[str, str, list[Argument]]] = {
    "ping": ("whether the agent answers", "commands.raw:ping", []),
    "info": ("the agent's version and commands", "commands.raw:info", []),
    "call": (
        "any command, also one that this tool does not know",
        "commands.raw:call",
        [_a("name"), _a("arguments", nargs="*", metavar="KEY=VALUE")],
    ),
    "schema": ("what commands there are, without an agent", "commands.schema:schema", [_a("name", nargs="?")]),
    "completion": (
        "a script that completes words in a shell",
        "completion:completion",
        [_a("shell", choices=["bash", "zsh", "fish"])],
    ),
    "status": ("the guest on one screen", "commands.status:status", []),
    "top": (
        "what the guest does, live; q leaves",
        "commands.top:top",
        [
            _a("--interval", type=duration, default=1.0, metavar="TIME", help="between two looks (1)"),
            _a("--count", type=positive, metavar="N", help="so many times, then leave"),
        ],
    ),
    "exec": (
        "run a program in the guest, and see what it writes while it runs",
        "remote.exec:execute",
        [
            _a("--env", action="append", default=[], metavar="NAME=VALUE", help="beside the agent's environment"),
            _a("--stdin", action="store_true", help="give it what comes on stdin, as it comes"),
            _a("--timeout", help="then it is ended, and all of its process group", **_LIMIT),
            _a("--tty", action="store_true", help="on a terminal in the guest, as shell"),
            *_TTY,
            _WORDS,
        ],
    ),
    "shell": (
        "a terminal in the guest; ~. at the beginning of a line leaves it",
        "remote.shell:shell",
        [
            _a("--user", help="whose login shell; by default the agent's, root as a rule"),
            _a("--env", action="append", default=[], metavar="NAME=VALUE", help="beside a login's environment"),
            *_TTY,
            _a("words", nargs=argparse.REMAINDER, metavar="CMD", help="a command and its arguments instead"),
        ],
    ),
    "cp": (
        "copy files; a path in the guest is written :PATH, and - is stdin or stdout",
        "commands.cp:cp",
        [
            _a("-r", "--recursive", action="store_true", help="directories too"),
            _a("--resume", action="store_true", help="keep the part of a copy that breaks, and go on from it"),
            _a("--no-verify", action="store_true", help="do not compare hashes"),
            _a("--keep-setuid", action="store_true", help="keep setuid, setgid and sticky bits, too"),
            _INSECURE,
            _a("--device", action="store_true", help="read a block device, or write into one, from its beginning"),
            _a("paths", nargs="+", metavar="PATH"),
        ],
    ),
    "cat": ("print files", "commands.read:cat", [_a("paths", nargs="+", metavar="PATH")]),
    "tail": (
        "print the end of a file",
        "commands.tail:tail",
        [
            _a("-f", "--follow", action="store_true", help="and what is added, also to a new file of this name"),
            _a("-F", action="store_true", dest="retry", help="as -f, and wait for a file that is not there yet"),
            _a("-n", "--lines", type=lines, default=Lines(10), metavar="N", help="so many (10); +N: all from line N"),
            _PATH,
        ],
    ),
    "ls": ("list a directory", "commands.read:ls", [_a("-l", "--long", action="store_true"), _PATH]),
    "edit": ("edit a file with $VISUAL or $EDITOR", "commands.edit:edit", [_INSECURE, _PATH]),
    "freeze": (
        "freeze the filesystems, run a command on this machine, thaw whatever happens",
        "commands.freeze:freeze",
        [_a("--timeout", default=60.0, help="longest time frozen (60)", **_LIMIT), _WORDS],
    ),
    "snapshot": (
        "freeze the filesystems, snapshot all disks by QEMU's monitor, thaw whatever happens",
        "commands.snapshot:snapshot",
        [
            _a("--qmp", required=True, metavar="ADDRESS", help="QEMU's monitor: a unix socket, or host:port"),
            _a("--directory", metavar="DIR", help="for the new files; by default beside the old ones"),
            _a("--name", help="what is added to the new files' names; by default the time"),
            _a("--timeout", default=60.0, help="for the freeze, and for the monitor (60)", **_LIMIT),
            _a("disks", nargs="*", metavar="DISK", help="by default all that can be written to"),
        ],
    ),
    "trim": ("tell the disks which blocks are free", "commands.power:trim", []),
    "suspend": ("put the guest to sleep", "commands.power:suspend", [_a("how", choices=["ram", "disk", "hybrid"])]),
    "shutdown": ("power the guest down", "commands.power:power", _GONE),
    "reboot": ("start the guest anew", "commands.power:power", _GONE),
    "halt": ("stop the guest, still powered", "commands.power:power", _GONE),
    "time": (
        "the guest's clock",
        "commands.power:time",
        [
            _a("what", choices=["get", "set", "sync"], nargs="?", default="get"),
            _a("when", nargs="?", metavar="WHEN", help="for set: seconds since 1970, or now: this machine's time"),
        ],
    ),
    "cpu": ("the guest's processors", "commands.hotplug:cpu", _UNITS),
    "memory": ("the guest's memory blocks", "commands.hotplug:memory", _UNITS),
    "passwd": (
        "set a user's password",
        "commands.power:passwd",
        [_a("--crypted", action="store_true", help="it is hashed already: crypt(5)"), _a("user", metavar="USER")],
    ),
    "ssh-key": (
        "a user's authorized keys",
        "commands.power:ssh_key",
        [_a("what", choices=["add", "remove", "list"]), _a("user"), _a("keys", nargs="*", metavar="KEY|FILE")],
    ),
}


def parser(first: str | None) -> argparse.ArgumentParser:
    """``first``: the subcommand if it is known; without it, or for guest-…, the schema's commands are added."""
    whole = argparse.ArgumentParser(prog="qga", description="Talk to the guest agent of a QEMU guest.")
    whole.add_argument("-c", "--connect", metavar="ADDRESS", help="the agent; by default $QGA_CONNECT")
    whole.add_argument("--wait", type=duration, default=0.0, metavar="TIME", help="for an agent that boots: 2m")
    whole.add_argument("--timeout", type=duration, metavar="TIME", help="for each command")
    whole.add_argument("--json", action="store_true", help="for programs")
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="for programs")
    subs = whole.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    for name, (text, where, arguments) in COMMANDS.items():
        if first in COMMANDS and name != first:
            continue
        one = subs.add_parser(name, parents=[parent], help=text, description=text)
        for names, options in arguments:
            one.add_argument(*names, **options)
        one.set_defaults(where=where, run=None)
    if first not in COMMANDS:
        from qga.tool.commands.raw import add_generated

        add_generated(subs, parent)
    return whole


def knows(word: str) -> bool:
    """Whether it is a subcommand: one of the tool's own, or a command of the schema."""
    if word in COMMANDS:
        return True
    from qga.protocol.schema import load

    return word in load().commands


def like(word: str) -> str:
    """``, but NAME`` where a subcommand has nearly this name."""
    from difflib import get_close_matches

    return "".join(f", but {name}" for name in get_close_matches(word, COMMANDS, 1))


def function(options: argparse.Namespace) -> Any:
    if options.run is not None:
        return options.run
    module, name = options.where.split(":")
    return getattr(import_module(f"qga.tool.{module}"), name)
