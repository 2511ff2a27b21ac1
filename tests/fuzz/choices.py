"""Turns the bytes of a fuzzer into decisions, for targets that need more structure than bytes have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_EDGES: list[object] = [
    *(0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 2**70),
    *(0.0, 1.0, -1.5, 1e300, 2.0**63, float("inf")),
    *(None, True, False, "", "set", "stdout", "a" * 70, "é\0\udcff", [], {}, [[]], {"": None}, [None, {"a": [1.0]}]),
]


class Choices:
    """Each decision takes one byte; where none is left, it is always the first that there is."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def below(self, number: int) -> int:
        return next(self._bytes, 0) % number

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def rarely(self) -> bool:
        return next(self._bytes, 0) >= 224

    def value(self, shape: Mapping[str, Any]) -> object:
        """A value of this JSON Schema, or nearly so."""
        if self.rarely():
            return self.pick(_EDGES)
        if "enum" in shape:
            return self.pick(shape["enum"])
        if "anyOf" in shape or "oneOf" in shape:
            return self.value(self.pick(shape.get("anyOf") or shape["oneOf"]))
        return _MAKERS[shape["type"]](self, shape)

    def _object(self, shape: Mapping[str, Any]) -> object:
        required = shape.get("required", ())
        made = {
            name: self.value(inner)
            for name, inner in shape["properties"].items()
            if (not self.rarely() if name in required else self.below(2))
        }
        if self.rarely():
            made[self.pick(["", "x", "id", "Handle", "cpu\0"])] = self.pick(_EDGES)
        if self.rarely():
            made = dict(reversed(made.items()))
        return made

    def _array(self, shape: Mapping[str, Any]) -> object:
        return [self.value(shape["items"]) for _ in range(self.below(4))]


_MAKERS: dict[str, Callable[[Choices, Mapping[str, Any]], object]] = {
    "object": Choices._object,
    "array": Choices._array,
    "boolean": lambda choices, shape: choices.pick([True, False]),
    "integer": lambda choices, shape: choices.pick([0, 1, -1, 77, shape["minimum"], shape["maximum"]]),
    "number": lambda choices, shape: choices.pick([0, 1.5, -1, 1e300]),
    "string": lambda choices, shape: choices.pick(["", "a", "set", "/dev/null", "é"]),
}
