"""What comes from a guest, before anything uses it: bounded, decoded, and held to the schema.

The guest is not trusted. The rule kept here: what a reply may cost is bounded before it is decoded, and a value that
a caller sees has the shape that ``schema/`` gives the command. Members that a newer agent adds are let through, as
are words that an enum does not have yet; QAPI changes a reply in no other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qga.client.errors import ClientError, MalformedReply, OutOfStep, failure
from qga.client.shapes import OBJECTS, RETURNS, UNIONS, Shape
from qga.protocol import jsontext

MAX_REPLY = 32 * 1024 * 1024  # bytes: 10,000 mounts of several disks each take a third
MAX_OUTPUT = 48 * 1024 * 1024  # of guest-exec-status: two streams of 16 MiB in base64, as QEMU's agent keeps them
MAX_FILE = 48 * 1024 * 1024  # of one guest-file-read, before base64: as QEMU's agent
MAX_UNKNOWN = 72 * 1024 * 1024  # of a command that the schema does not have: as the largest of those that it has
MAX_PARTS = 1 << 20  # values and containers: 10,000 mounts have 300,000; a million take up to 200 MB
MAX_SHOWN = 60  # characters of a guest's value in an error
_FRAME = 64 * 1024  # bytes of a reply around its payload
_READ = 4096  # bytes that guest-file-read gives where its count is not said

_INT64, _UINT64 = 1 << 63, 1 << 64


def room(command: str, arguments: Mapping[str, Any]) -> int:
    """Return how many bytes the reply to this request may have."""
    if command == "guest-file-read":
        count = arguments.get("count", _READ)
        return (min(max(count, 0), MAX_FILE) if type(count) is int else _READ) * 4 // 3 + _FRAME
    if command == "guest-exec-status":
        return MAX_OUTPUT
    return MAX_REPLY if command in RETURNS else MAX_UNKNOWN


def parsed(line: bytes) -> object:
    """Return the JSON value in a line.

    Raises OutOfStep where it is not JSON, or would take many times its size in memory: an empty list costs 32 times
    its two bytes. Each value but the first follows a bracket, a brace or a comma; those within strings make the count
    too high, never too low.
    """
    if len(line) > MAX_PARTS and line.count(b",") + line.count(b"[") + line.count(b"{") > MAX_PARTS:
        raise OutOfStep(f"the agent sent a reply of more than {MAX_PARTS} parts: it was not read")
    try:
        return jsontext.loads(line)
    except ValueError:
        raise OutOfStep(f"the agent sent what is not a reply: {beginning(line)}") from None


def checked(command: str, value: Any) -> Any:
    """Return the value that a command returned. Raises MalformedReply if it does not have the schema's shape."""
    shape = RETURNS.get(command)
    if shape is not None:
        try:
            _hold(shape, value)
        except _Mismatch as mismatch:
            raise mismatch.error(command) from None
    return value


def failed(command: str, error: object) -> ClientError:
    """Return the error that a reply means: ``error`` is its member of that name."""
    if not isinstance(error, dict):
        return MalformedReply(command, f"error: expected an object, got {shown(error)}")
    for member in ("desc", "class"):
        if not isinstance(error.get(member, ""), str):
            return MalformedReply(command, f"error.{member}: expected a string, got {shown(error[member])}")
    return failure(command, error.get("desc", "no reason given"), error.get("class", "GenericError"))


def shown(value: object) -> str:
    """Return a value of the guest's as an error shows it: escaped, and no longer than a line."""
    if isinstance(value, dict):
        return f"an object of {len(value)} members"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return ascii(value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)[:MAX_SHOWN]


def beginning(line: bytes) -> str:
    """Return the beginning of a line of the guest's as an error shows it."""
    return shown(line[: 2 * MAX_SHOWN].decode(errors="replace"))


class _Mismatch(Exception):  # noqa: N818  it never leaves this module
    """``expected`` in words, ``value`` what came, ``path`` the members that lead to it, the last one first."""

    def __init__(self, expected: str, value: str) -> None:
        self.expected, self.value = expected, value
        self.path: list[str] = []

    def error(self, command: str) -> MalformedReply:
        where = "".join(reversed(self.path)).removeprefix(".")
        return MalformedReply(command, f"{f'{where}: ' if where else ''}expected {self.expected}, got {self.value}")


_NUMBERS = {
    "int": (-_INT64, _INT64, "an integer of 64 bits"),
    "uint64": (0, _UINT64, "an unsigned integer of 64 bits"),
}
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a string"),
    "bool": ((bool,), "true or false"),
    "number": ((int, float), "a number"),
}


def _hold(shape: Shape, value: object) -> None:
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise _Mismatch("a list", shown(value))
        for number, item in enumerate(value):
            try:
                _hold(shape[0], item)
            except _Mismatch as mismatch:
                mismatch.path.append(f"[{number}]")
                raise
    elif shape in _NUMBERS:
        low, high, expected = _NUMBERS[shape]
        if type(value) is not int or not low <= value < high:
            raise _Mismatch(expected, shown(value))
    elif shape in _KINDS:
        kinds, expected = _KINDS[shape]
        if type(value) not in kinds:
            raise _Mismatch(expected, shown(value))
    elif not isinstance(value, dict):
        raise _Mismatch("an object", shown(value))
    elif shape in UNIONS:
        base, discriminator, branches = UNIONS[shape]
        _hold_members(base, value)
        if (branch := branches.get(value[discriminator])) is not None:
            _hold_members(branch, value)
    else:
        _hold_members(OBJECTS[shape], value)


def _hold_members(members: Mapping[str, Shape], value: Mapping[str, object]) -> None:
    for name, shape in members.items():
        if (known := name.removeprefix("*")) in value:
            try:
                _hold(shape, value[known])
            except _Mismatch as mismatch:
                mismatch.path.append(f".{known}")
                raise
        elif known == name:
            raise _Mismatch(f"a member {known}", "none")
