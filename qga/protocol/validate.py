"""Validation: whether a value has a given shape, and QEMU's error if it has not.

A visitor decides as QEMU's does: it takes the members in the schema's order, then looks for unexpected ones, and ends
at the first problem, so that a million of them cost no more than one. Where fastjsonschema is installed, what it has
compiled decides the common case, and the visitor finds the error.
Shapes are JSON Schema draft 4, the last in which 1.0 is not an integer, as in QAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from qga.protocol.errors import RequestError

Validator = Callable[[object], None]

_DRAFT = "http://json-schema.org/draft-04/schema#"


def compile_validator(shape: Mapping[str, Any]) -> Validator:
    """Return a function that does nothing for a value of this shape and raises RequestError for any other."""
    accepts = None if shape.get("properties") == {} else _compiled(shape)
    return partial(visit, shape) if accepts is None else accepts


def _compiled(shape: Mapping[str, Any]) -> Validator | None:
    """Return the validator that fastjsonschema makes, or None where it is not installed, or too old.

    It is imported when first needed: a host that only asks for the state of the guest does not need it.
    """
    try:
        import fastjsonschema

        accepts = fastjsonschema.compile(
            {"$schema": _DRAFT, **shape}, use_default=False, use_formats=False, detailed_exceptions=False
        )
    except (ImportError, TypeError):  # 2.16 does not know all of these
        return None

    def validate(value: object) -> None:
        try:
            accepts(value)
        except fastjsonschema.JsonSchemaValueException:
            visit(shape, value)
            raise AssertionError("the compiled validator refuses what is of the shape") from None

    return validate


def visit(shape: Mapping[str, Any], value: object) -> None:
    """Raise RequestError with QEMU's error about the first problem of a value that does not have this shape."""
    try:
        _visit(shape, value)
    except _Problem as problem:
        raise RequestError(problem.words(_path(reversed(problem.steps)))) from None


def first_complaint(shape: Mapping[str, Any], value: object) -> str | None:
    """Return jsonschema's error about a value, or None; for what a person wrote."""
    from jsonschema import Draft4Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft4Validator(shape).iter_errors(value))
    if error is None:
        return None
    where = _path(error.absolute_path)
    return f"{where}: {error.message}" if where else error.message


class _Problem(Exception):  # noqa: N818  it never leaves this module
    """A problem: ``words`` returns QAPI's error for a path; ``steps`` lead from the place up to the whole value."""

    def __init__(self, words: Callable[[str], str], *steps: str | int) -> None:
        super().__init__()
        self.words = words
        self.steps = [*steps]


def _visit(shape: Mapping[str, Any], value: object) -> None:
    """Raise _Problem for the first problem: members in the schema's order, as QEMU's visitor takes them."""
    shape = _branch(shape, value) if "oneOf" in shape else shape
    kind = shape.get("type")
    if kind == "object" and isinstance(value, dict):
        for name, member in shape["properties"].items():
            if name in value:
                _descend(member, value[name], name)
            elif name in shape.get("required", ()):
                raise _Problem(lambda path: f"Parameter '{path}' is missing", name)
        for name in value:
            if name not in shape["properties"]:
                raise _Problem(lambda path: f"Parameter '{path}' is unexpected", name)
    elif kind == "array" and isinstance(value, list):
        for number, element in enumerate(value):
            _descend(shape["items"], element, number)
    elif not _fits(shape, value):
        raise _Problem(partial(_refusal, shape, value))


def _branch(union: Mapping[str, Any], value: object) -> Mapping[str, Any]:
    """Return the branch of a union that the word in its discriminator names; else the first, for its complaint."""
    name, branches = union["discriminator"], union["oneOf"]
    word = value.get(name) if isinstance(value, dict) else None
    return next((branch for branch in branches if word in branch["properties"][name]["enum"]), branches[0])


def _descend(shape: Mapping[str, Any], value: object, step: str | int) -> None:
    try:
        _visit(shape, value)
    except _Problem as problem:
        problem.steps.append(step)
        raise


def _fits(shape: Mapping[str, Any], value: object) -> bool:
    """Return whether a value has a shape that is neither object nor list; alternates have no such branches."""
    if "anyOf" in shape:
        return any(_fits(branch, value) for branch in shape["anyOf"])
    if not isinstance(value, _TYPES.get(shape["type"], ())) or (
        isinstance(value, bool) and shape["type"] != "boolean"
    ):
        return False
    if "enum" in shape:
        return value in shape["enum"]
    return "minimum" not in shape or shape["minimum"] <= value <= shape["maximum"]


_TYPES = {"string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float)}


def _refusal(shape: Mapping[str, Any], value: object, path: str) -> str:
    if shape.get("title") == "uint64":
        return f"Parameter '{path}' expects uint64"
    if isinstance(value, str) and any("enum" in branch for branch in shape.get("anyOf", [shape])):
        return f"Parameter '{path}' does not accept value '{value}'"
    return f"Invalid parameter type for '{path}', expected: {_expected(shape, value)}"


def _expected(shape: Mapping[str, Any], value: object) -> str:
    """Return the name of the expected type: for an alternate its own name, or integer where a number was given."""
    if "anyOf" not in shape:
        return str(shape["type"])
    integral = any(branch.get("type") == "integer" for branch in shape["anyOf"])
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "integer" if integral and is_number else str(shape["title"])


def _path(steps: Iterable[str | int]) -> str:
    """Return the path to a member as QEMU writes it, for example "vcpus[0].online"."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
