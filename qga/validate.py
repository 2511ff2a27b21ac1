"""Is a value of a given shape, and if not, what would QEMU say?

A validator compiled by fastjsonschema decides; jsonschema finds what was wrong, and the complaint is put in QAPI's
words. Both are imported when first needed: a host that only pings and looks needs neither. Shapes are JSON Schema
draft 4: the last in which 1.0 is no integer, which is also QAPI's view. (QEMU visits members in schema order and
reports the first problem; what is unexpected is looked for after the members.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from qga.errors import RequestError

if TYPE_CHECKING:
    from jsonschema import ValidationError

Validator = Callable[[object], None]

_DRAFT = "http://json-schema.org/draft-04/schema#"


def compile_validator(shape: Mapping[str, Any]) -> Validator:
    """A function that returns for a value of this shape and raises RequestError for any other."""
    if shape.get("properties") == {}:
        return lambda value: _be_empty(shape, value)
    import fastjsonschema

    accepts = fastjsonschema.compile(
        {"$schema": _DRAFT, **shape}, use_default=False, use_formats=False, detailed_exceptions=False
    )

    def validate(value: object) -> None:
        try:
            accepts(value)
        except fastjsonschema.JsonSchemaValueException:
            raise RequestError(complaint(shape, value)) from None

    return validate


def _be_empty(shape: Mapping[str, Any], value: object) -> None:
    if value != {}:
        raise RequestError(complaint(shape, value))


def complaint(shape: Mapping[str, Any], value: object) -> str:
    """What QEMU says first of a value that is not of this shape."""
    from jsonschema import Draft4Validator

    errors = Draft4Validator(shape).iter_errors(value)
    return _in_qapi_words(min(errors, key=lambda error: _visit_order(shape, error)))


def first_complaint(shape: Mapping[str, Any], value: object) -> str | None:
    """What jsonschema says of a value, in its own words: for files that a person wrote."""
    from jsonschema import Draft4Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft4Validator(shape).iter_errors(value))
    if error is None:
        return None
    where = _path(error.absolute_path)
    return f"{where}: {error.message}" if where else error.message


def _visit_order(shape: Mapping[str, Any], error: ValidationError) -> tuple[int, ...]:
    """Where QEMU's visitor stands when it meets this error: one number for each level of nesting."""
    position = []
    for step in error.absolute_path:
        if isinstance(step, int):
            position.append(step)
            shape = shape["items"]
        else:
            position.append(list(shape["properties"]).index(step))
            shape = shape["properties"][step]
    if error.validator == "required":
        position.append(list(shape["properties"]).index(_missing(error)))
    elif error.validator == "additionalProperties":
        position.append(len(shape["properties"]))
    return tuple(position)


def _in_qapi_words(error: ValidationError) -> str:
    path, shape = list(error.absolute_path), cast("Mapping[str, Any]", error.schema)
    value = cast("Any", error.instance)
    if error.validator == "required":
        return f"Parameter '{_path([*path, _missing(error)])}' is missing"
    if error.validator == "additionalProperties":
        unexpected = next(name for name in value if name not in shape["properties"])
        return f"Parameter '{_path([*path, unexpected])}' is unexpected"
    if shape.get("title") == "uint64":
        return f"Parameter '{_path(path)}' expects uint64"
    if error.validator == "enum" or (error.validator == "anyOf" and _is_unknown_word(shape, value)):
        return f"Parameter '{_path(path)}' does not accept value '{value}'"
    return f"Invalid parameter type for '{_path(path)}', expected: {_expected(shape, value)}"


def _missing(error: ValidationError) -> str:
    """The first member that is missing. jsonschema reports each on its own, all with the same facts."""
    shape, value = cast("Mapping[str, Any]", error.schema), cast("Any", error.instance)
    missing: str = next(name for name in shape["properties"] if name in shape["required"] and name not in value)
    return missing


def _is_unknown_word(alternate: Mapping[str, Any], value: object) -> bool:
    return isinstance(value, str) and any("enum" in branch for branch in alternate["anyOf"])


def _expected(shape: Mapping[str, Any], value: object) -> str:
    """A type's name for people. An alternate goes by its own, except that a number chooses its integer branch."""
    if "anyOf" not in shape:
        return str(shape["type"])
    integral = any(branch.get("type") == "integer" for branch in shape["anyOf"])
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "integer" if integral and is_number else str(shape["title"])


def _path(steps: Iterable[str | int]) -> str:
    """vcpus[0].online"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
