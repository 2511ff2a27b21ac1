"""The patterns of a policy: what a text, a list or a path has to look like.

In all of them ``*`` stands for any text, and nothing else is special. In a path it stays within one component, and
``**`` stands for any components: one or more at the end, none or more in the middle. In a list each pattern is for
one element, and a ``**`` at the end for any rest. A constraint says which of several patterns a value may match; that
of no pattern is met by what was not given, or is an empty list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Constraint = Callable[[Any], bool]  # of an argument's value, None if it is not given


class PatternError(Exception):
    """What a policy has is no pattern: what is wrong, and what was expected."""


def command_names(glob: str, known: Iterable[str]) -> list[str]:
    """The commands that a pattern means."""
    matches = text(glob).fullmatch
    return [name for name in known if matches(name)]


def text(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def constraint(shape: Mapping[str, Any], patterns: object) -> Constraint:
    """For an argument of this shape (JSON Schema). Raises PatternError."""
    if not isinstance(patterns, list):
        raise PatternError(f"expected a list of what it may be, not {patterns!r}")
    if shape.get("type") == "array":
        if shape["items"].get("type") != "string":
            raise PatternError("it is no list of texts, and cannot be compared")
        lists = [_elements(pattern) for pattern in patterns] or [_elements([])]
        return lambda value: any(matches(value or []) for matches in lists)
    if not patterns:
        return lambda value: value is None
    one_of = [_scalar(shape, pattern) for pattern in patterns]
    return lambda value: any(matches(value) for matches in one_of)


def paths(patterns: object, *, through_links: bool) -> Constraint:
    """For a path without links, or None. Raises PatternError.

    ``through_links``: a pattern also means what its beginning leads to, at the time: for what is forbidden, a link
    that the owner has not thought of must not be a way around.
    """
    if not isinstance(patterns, list) or not patterns:
        raise PatternError(f"expected a list of paths, not {patterns!r}")
    known = [(pattern, _path(pattern)) for pattern in patterns]

    def matches(value: object) -> bool:
        return isinstance(value, str) and any(
            regex.fullmatch(value)
            or (through_links and (real := real_pattern(pattern)) != pattern and _path(real).fullmatch(value))
            for pattern, regex in known
        )

    return matches


def real_pattern(pattern: str) -> str:
    """The pattern, with the components before its first ``*`` resolved: /bin/* is /usr/bin/* where /bin is a link."""
    head, star, tail = pattern.partition("*")
    fixed, slash, begun = head.rpartition("/") if star else (pattern, "", "")
    real = os.path.realpath(fixed or "/")
    return (real if real != "/" or not slash else "") + slash + begun + star + tail


def _scalar(shape: Mapping[str, Any], pattern: object) -> Constraint:
    kinds = [branch["type"] for branch in shape.get("anyOf", [shape])]
    if isinstance(pattern, str) and "string" in kinds:
        regex = text(pattern)
        return lambda value: isinstance(value, str) and regex.fullmatch(value) is not None
    is_bool = isinstance(pattern, bool)
    if (is_bool and "boolean" in kinds) or (not is_bool and isinstance(pattern, int) and "integer" in kinds):
        return lambda value: value == pattern and isinstance(value, bool) == is_bool
    raise PatternError(f"expected {' or '.join(kinds)}, not {pattern!r}")


def _elements(patterns: object) -> Callable[[Sequence[str]], bool]:
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise PatternError(f"expected a list of lists of texts, such as [['update']], but it holds {patterns!r}")
    if "**" in patterns[:-1]:
        raise PatternError(f"expected '**' at the end, where it stands for any rest, not in {patterns!r}")
    rest = patterns[-1:] == ["**"]
    regexes = [text(pattern) for pattern in (patterns[:-1] if rest else patterns)]
    fixed = len(regexes)

    def matches(value: Sequence[str]) -> bool:
        return (len(value) == fixed or (rest and len(value) > fixed)) and all(
            regex.fullmatch(element) for regex, element in zip(regexes, value, strict=False)
        )

    return matches


def _path(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str) or not pattern.startswith("/"):
        raise PatternError(f"expected an absolute path, not {pattern!r}")
    parts = pattern[1:].split("/") if pattern != "/" else []
    if "\0" in pattern or any(part in ("", ".", "..") or ("**" in part and part != "**") for part in parts):
        raise PatternError(
            f"expected a path without empty components, '.', '..' or '**' beside text, not {pattern!r}"
        )
    regex = "".join(
        ("/.+" if number == len(parts) else "(?:/.+)?")
        if part == "**"
        else "/" + "[^/]*".join(map(re.escape, part.split("*")))
        for number, part in enumerate(parts, 1)
    )
    return re.compile(regex or "/", re.DOTALL)
