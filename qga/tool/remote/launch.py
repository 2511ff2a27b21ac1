"""How the far end of a terminal is started: by python3 where the guest has it, else by script of util-linux."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pybase64

from qga.tool.exits import UsageError
from qga.tool.remote import guest as ends

SEGMENT = 64 * 1024  # bytes of one output file; two of them may wait to be read

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Wanted(NamedTuple):
    """``words`` empty: the user's login shell. ``user`` empty: the agent's, root as a rule. ``by``: python3, script.

    ``linger``: seconds that the program lives on when the tool is gone. ``size``: rows and columns.
    """

    words: Sequence[str]
    user: str
    env: Mapping[str, str]
    by: Sequence[str]
    linger: float
    size: tuple[int, int]


def how(by: str, directory: str, wanted: Wanted) -> dict[str, Any]:
    """Arguments of guest-exec for the far end."""
    first = [directory, str(math.ceil(wanted.linger)), str(SEGMENT)]
    pairs = [f"{name}={value}" for name, value in wanted.env.items()]
    rows, columns = wanted.size
    if by == "python3":
        sizes = [str(rows), str(columns)]
        words = ["-IS", "-", *first, *sizes, wanted.user, str(len(pairs)), *pairs, *wanted.words]
        text = ends.text("terminal.py")
    else:
        given = [directory, str(rows), str(columns), wanted.user, _PATH, str(len(pairs)), *pairs, *wanted.words]
        login = f"set -- {shlex.join(given)}\n{ends.text('terminal_login.sh').decode()}"
        words, text = ["-s", *first, login], ends.text("terminal.sh")
    return {"arg": words, "input-data": pybase64.b64encode_as_string(text), "capture-output": False}


def environment(pairs: list[str]) -> dict[str, str]:
    """What --env says. A word without = would be a program to env(1)."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals or name.startswith("-"):
            raise UsageError(f"--env {pair!r}: expected NAME=VALUE")
        found[name] = value
    return found
