"""Replies to values: what does not have the schema's shape is an error in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qga.client.errors import OutOfStep

T = TypeVar("T")


def read(command: str, reader: Callable[[Any], T], value: object) -> T:
    """What ``reader`` makes of a reply. Raises OutOfStep."""
    try:
        return reader(value)
    except KeyError as error:
        raise OutOfStep(f"{command}: the reply lacks its member {error}", command=command) from None
    except (TypeError, AttributeError):
        raise OutOfStep(f"{command}: the reply has another shape than the schema's", command=command) from None


def of(command: str, kind: type[T], value: object) -> T:
    """The value itself, if it is of the kind. Raises OutOfStep."""
    if type(value) is not kind:
        raise OutOfStep(f"{command}: expected {kind.__name__}, and the agent returned {value!r:.60}", command=command)
    return value
