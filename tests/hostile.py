"""A guest that answers every command with what the schema says, and then some of it changed: wrong types, numbers out
of any range, missing and doubled members, strings that steer a terminal. What it changes depends only on its seed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

from qga.protocol import schema, wire
from qga.testing import FakeGuest
from qga.tool import cli, exits, subcommands

LEAVES: list[Any] = [
    *(None, True, False, {}, [], [[]], {"a": 1}, "", "0", 0, 1, -1, 2, 255, 4096),
    *(2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40),
    *(0.0, -0.0, 1.5, -1.5, 1e308, -1e308, 5e-324),
    *("x" * 5000, "9" * 5000, "nan", "inf", "-1", "1e999", "/", "..", "../../x", "a/b", "-rf", "%s", "{}"),
    *("\x1b[2J\x1b]0;x\x07", "a\nb\r\nc\td", "\x00", "\x7f", "\x9b2J\x85\x90", "\u202e\u2066\u200f\u061c\u2069"),
    *("\u2028\u2029\u200b\ufeff", "\ufffe\uffff", "\U000e0041", "ä€😀", "QUJD", "QQ==QQ", "!!!", "QUJD\n"),
    *("a\0b\0c\0d\0e\0", "f\x000644\x001.5\x00\x00../x\0", "123 81a4 1 1\n", "/tmp/x\npython3\npython3\n"),
]

# Every subcommand as it is typed. TREE is a directory of this machine, FILE a file in it, OUT one that is not there.
WORDS: list[list[str]] = [
    *(["install-agent", "--dry-run", "PACKAGE"], ["install-agent", "--wait", "50ms", "PACKAGE"]),
    ["make-iso", "--output", "OUT", "PACKAGE"],
    *(["ping"], ["info"], ["call", "guest-get-osinfo"], ["call", "guest-of-tomorrow", "a=1"], ["schema"]),
    *(["completion", "bash"], ["status"], ["top", "--count", "1", "--interval", "1ms"]),
    *(
        ["exec", "--timeout", "50ms", "--", "id"],
        ["shell"],
        ["cat", "/f"],
        ["tail", "-n", "3", "/f"],
        ["ls", "-l", "/"],
    ),
    *(["tail", "-n", "+2", "/f"], ["edit", "/f"], ["freeze", "--", "true"], ["snapshot", "--qmp", "/no/such"]),
    *(
        ["trim"],
        ["suspend", "ram"],
        ["shutdown"],
        ["reboot"],
        ["halt"],
        ["time"],
        ["time", "sync"],
        ["cpu"],
        ["memory"],
    ),
    *(["cpu", "online", "1", "2"], ["memory", "offline", "1"], ["passwd", "joe"], ["ssh-key", "list", "joe"]),
    *(
        ["ssh-key", "add", "joe", "ssh-rsa A"],
        ["cp", ":/f", "OUT"],
        ["cp", "-r", ":/d", "OUT"],
        ["cp", "FILE", ":/t"],
    ),
    *(["cp", "-r", "TREE", ":/t"],),
]
RAW = ("exec", "cat", "tail")  # they hand on what a program or a file has, where stdout is not a terminal


def generated() -> list[list[str]]:
    """Every command of the schema as a subcommand, with the arguments that it needs."""
    words = []
    for command in schema.load().commands.values():
        given = [command.name]
        for name in command.arguments.get("required", []):
            kind = command.arguments["properties"][name].get("type")
            given += [f"--{name}", {"string": "x", "integer": "1", "boolean": "true", "array": "[]"}.get(kind, "0")]
        words.append(given)
    return words


def fullest(shape: Mapping[str, Any]) -> Any:
    """A value of this JSON Schema with every member there, and two of every list."""
    if "oneOf" in shape or "anyOf" in shape:
        return fullest(shape.get("oneOf", shape.get("anyOf"))[0])
    match shape["type"]:
        case "object":
            return {name: fullest(member) for name, member in shape["properties"].items()}
        case "array":
            return [fullest(shape["items"]), fullest(shape["items"])]
        case "string":
            return shape.get("enum", ["QUJD"])[0]
    return {"integer": 3, "number": 1.5, "boolean": True}[shape["type"]]


class HostileGuest(FakeGuest):
    """A fake guest that changes a ``part`` of its replies, 0 to 1."""

    def __init__(self, seed: int | str, part: float = 0.4) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._part = part
        self.files.update({path: bytearray(b"1.5 2\nMemTotal: 9 kB\nMemAvailable: 3 kB\n" * 9) for path in
                           ("/f", "/proc/uptime", "/proc/meminfo", "//out", "//err")})  # fmt: skip
        for name in (
            "sh",
            "ls",
            "stat",
            "find",
            "rm",
            "mkdir",
            "b2sum",
            "kill",
            "dpkg",
            "qemu-ga",
            "cat",
            "tail",
            "touch",
        ):
            self.programs[name] = self._program

        for command in self._schema.commands.values():
            if command.name not in self._answers and command.returns is not None:
                self.answer(command.name, fullest(self._schema.type(command.returns)))

    def _send(self, descriptor: int, reply: bytes) -> None:
        is_sync = not self.requests or self._schema.commands[self.requests[-1][0]].sync
        if not is_sync and self._random.random() < self._part:
            ((kind, value), *rest) = json.loads(reply).items()
            reply = wire.encode({kind: self._changed(value), **dict(rest)})
        super()._send(descriptor, reply)

    def _changed(self, value: Any) -> Any:
        """The value with one of its parts replaced, left out, doubled, or with a member more."""
        whole = {"": copy.deepcopy(value)}
        at: Any = whole
        key: Any = ""
        while isinstance(at[key], (dict, list)) and at[key] and self._random.random() < 0.8:
            at = at[key]
            key = self._random.choice(list(at) if isinstance(at, dict) else range(len(at)))
        match self._random.randrange(6):
            case 0 if at is not whole:
                del at[key]
            case 1 if isinstance(at, list):
                at += at * self._random.randrange(1, 50)
            case 2 if isinstance(at, dict) and at is not whole:
                at[self._random.choice(["of-tomorrow", "\x1b[31m", "\u202e"])] = self._random.choice(LEAVES)
            case _:
                at[key] = self._random.choice(LEAVES)
        return whole[""]

    def _program(self, arguments: Sequence[str], data: bytes) -> tuple[int, bytes, bytes]:
        words = [leaf for leaf in LEAVES if isinstance(leaf, str)]
        out, err = (self._random.choice(words).encode(errors="replace") for _ in range(2))
        return self._random.choice([0, 0, 0, 1, 127]), out, err


def run(guest: FakeGuest, words: Sequence[str]) -> tuple[int, bytes, str]:
    """Run the tool in this process; return its exit status, stdout and stderr."""
    written = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in written)
    typed = io.TextIOWrapper(io.BytesIO(b"secret\n"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(mock.patch.object(sys, "stdin", typed))
        stack.enter_context(mock.patch("time.sleep"))  # nothing of this is waited for
        try:
            status = cli.main(["-c", guest.address, *words])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
    return status, written[0].getvalue(), written[1].getvalue().decode(errors="replace")


def place(words: Sequence[str], directory: str) -> list[str]:
    """Return the words with real paths below an empty directory filled in."""
    tree = os.path.join(directory, "tree")
    os.mkdir(tree)
    with open(os.path.join(tree, "file"), "wb") as file:
        file.write(b"x" * 100)
    package = os.path.join(directory, "x.deb")
    os.symlink(os.path.join(tree, "file"), package)
    paths = {
        "PACKAGE": package,
        "TREE": tree,
        "FILE": os.path.join(tree, "file"),
        "OUT": os.path.join(directory, "out"),
    }
    return [paths.get(word, word) for word in words]


def complaint(words: Sequence[str], status: int, out: bytes, err: str) -> str | None:
    """Return what is wrong with the tool's reaction, or None."""
    shown = err if words[0] in RAW else err + out.decode()
    if status == exits.FAULT or "Traceback" in err:
        return "a fault"
    if status not in exits.MEANING and words[0] != "exec":
        return "a status that means nothing"
    if status and not err:
        return "a status without a sentence"
    if steering := {letter for letter in shown if not letter.isprintable() and letter != "\n"}:
        return f"it hands on {steering!a}"
    return None


def every_subcommand() -> Iterator[list[str]]:
    known = {*subcommands.COMMANDS, *schema.load().commands}
    words = [*WORDS, *generated()]
    assert {one[0] for one in words} == known, "a subcommand that is not tried"
    yield from words
