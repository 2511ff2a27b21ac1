"""How a terminal is started in the guest: by python3 where the guest has it, else by script of util-linux."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qga.tool.exits import UsageError
from qga.tool.remote import guest

SEGMENT = 64 * 1024  # bytes of one output file; two of them may wait to be read
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Program(NamedTuple):
    """What to run on a terminal, and how.

    ``words`` empty: the user's login shell. ``user`` empty: the agent's, usually root. ``candidates`` for making the
    terminal, in order: python3, script. ``linger``: seconds that the program lives on when the tool is gone.
    ``size``: rows and columns.
    """

    words: Sequence[str]
    user: str
    env: Mapping[str, str]
    candidates: Sequence[str]
    linger: float
    size: tuple[int, int]


def launched(candidate: str, directory: str, program: Program) -> tuple[list[str], bytes]:
    """Return the arguments, and the input, of the interpreter in the guest that makes the terminal."""
    common = [directory, str(math.ceil(program.linger)), str(SEGMENT)]
    size = [str(number) for number in program.size]
    pairs = [f"{name}={value}" for name, value in program.env.items()]
    if candidate == "python3":
        words = [program.user, str(len(pairs)), *pairs, *program.words]
        return ["-IS", "-", *common, *size, *words], guest.text("terminal.py")
    login = [directory, *size, program.user, _PATH, str(len(pairs)), *pairs, *program.words]
    script = f"set -- {shlex.join(login)}\n{guest.text('terminal_login.sh').decode()}"
    return ["-s", *common, script], guest.text("terminal.sh")


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """Return what the options --env set. A word without = would be a program to env(1)."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals or name.startswith("-"):
            raise UsageError(f"--env {pair!r}: expected NAME=VALUE")
        found[name] = value
    return found
