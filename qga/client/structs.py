"""Objects of the schema as dataclasses: one reader fills them all from JSON, one writer sends them.

``qga.client.replies`` has the classes, ``qga.client.shapes`` what each is made of. A value is read once it has been
checked (``qga.client.reading``), so a member that is missing here is an optional one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeAlias

from qga.client.shapes import OBJECTS, RETURNS, UNIONS, Members, Shape

_Reader: TypeAlias = Callable[[Any], Any]

_classes: dict[str, type[Struct]] = {}


class Struct:
    """A dataclass whose name is the schema's, without Guest before it."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        _classes[cls.__name__] = cls  # of a dataclass with slots the second: it is made anew

    def write(self) -> dict[str, Any]:
        """Return it as an argument of a command, without what is None."""
        members = OBJECTS[f"Guest{type(self).__name__}"]
        values = {name.removeprefix("*"): getattr(self, _field(name)) for name in members}
        return {name: value for name, value in values.items() if value is not None}


def read(command: str, value: Any) -> Any:
    """Return what a command has returned, with dataclasses for its objects.

    Members that a newer agent adds are ignored, and so are objects of a kind that the schema does not have.
    """
    reader = _reader(*_of(RETURNS[command]))
    return value if reader is None else reader(value)


def _of(shape: Shape | None) -> tuple[str, bool]:
    """Return the name of a type, or of a list's elements, and whether it is a list."""
    return (str(shape[0]), True) if isinstance(shape, list) else (str(shape), False)


@cache
def _reader(name: str, is_list: bool) -> _Reader | None:
    """Return what reads a value of this shape; None where it stays as it is."""
    one: _Reader
    if name in OBJECTS:
        one = _object_reader(name, OBJECTS[name])
    elif name in UNIONS:
        base, discriminator, branches = UNIONS[name]
        readers = {kind: _object_reader(name, {**base, **members}) for kind, members in branches.items()}

        def one(value: Mapping[str, Any]) -> Any:
            reader = readers.get(value[discriminator])
            return None if reader is None else reader(value)
    else:
        return None
    if not is_list:
        return one
    if name in UNIONS:
        return lambda items: [part for part in map(one, items) if part is not None]
    return lambda items: list(map(one, items))


def _object_reader(name: str, members: Members) -> _Reader:
    kind = _classes[name.removeprefix("Guest")]
    names = {_field(member): member.removeprefix("*") for member in members}
    wire = [names[field.name] for field in fields(kind)]  # type: ignore[arg-type]  # a subclass is a dataclass
    shapes = {member.removeprefix("*"): _of(shape) for member, shape in members.items()}
    inner = [(at, reader) for at, member in enumerate(wire) if (reader := _reader(*shapes[member])) is not None]

    def read_object(value: Mapping[str, Any]) -> Any:
        parts = [*map(value.get, wire)]
        for at, reader in inner:
            if parts[at] is not None:
                parts[at] = reader(parts[at])
        return kind(*parts)

    return read_object


def _field(member: str) -> str:
    return member.removeprefix("*").replace("-", "_")
