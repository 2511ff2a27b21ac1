"""The patterns of a policy: they match texts, lists and paths.

In every pattern ``*`` stands for any text, and nothing else is special. In a path ``*`` stands for text without '/',
and ``**`` stands for any components: one or more at the end, zero or more in the middle. In a list each pattern
stands for one element, and ``**`` at the end stands for any remaining elements. A value that matches one of its
patterns meets a constraint; a constraint without patterns is met only by an argument that was not given or is an
empty list.

The text between two stars is matched at its first occurrence: if the rest does not match after that place, it does
not match after a later one either. So nothing is tried twice, and the work is linear in the length of the text,
however many stars there are. A regular expression would backtrack, and a hostile host could block the agent for
minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Matcher = Callable[[str], bool]
Constraint = Callable[[Any], bool]  # called with an argument's value, None if it was not given


class PatternError(Exception):
    """A pattern of a policy is not valid; the text says what is wrong and what was expected."""


def command_names(glob: str, known: Iterable[str]) -> list[str]:
    """Return the commands whose names match a pattern."""
    matches = text(glob)
    return [name for name in known if matches(name)]


def text(pattern: str) -> Matcher:
    """Return a function that tells whether a text matches ``pattern``, in which ``*`` stands for any text."""
    first, *middle = pattern.split("*")
    if not middle:
        return lambda value: value == pattern
    last = middle.pop()

    def matches(value: str) -> bool:
        if not value.startswith(first):
            return False
        position = len(first)
        for piece in middle:
            found = value.find(piece, position)
            if found < 0:
                return False
            position = found + len(piece)
        return len(value) - position >= len(last) and value.endswith(last)

    return matches


def constraint(shape: Mapping[str, Any], patterns: object) -> Constraint:
    """Return the constraint for an argument with this JSON Schema. Raises PatternError."""
    if not isinstance(patterns, list):
        raise PatternError(f"expected a list of what it may be, not {patterns!r}")
    if shape.get("type") == "array":
        if shape["items"].get("type") != "string":
            raise PatternError("it is not a list of texts, and cannot be compared")
        lists = [_elements(pattern) for pattern in patterns] or [_elements([])]
        return lambda value: any(matches(value or []) for matches in lists)
    if not patterns:
        return lambda value: value is None
    one_of = [_scalar(shape, pattern) for pattern in patterns]
    return lambda value: any(matches(value) for matches in one_of)


def paths(patterns: object, *, through_links: bool) -> Constraint:
    """Return the constraint for a path, called with a path without symbolic links or with None. Raises PatternError.

    With ``through_links`` the links in a pattern are followed as well, each time it is compared. That is for rules
    that deny: a link that nobody thought of must not be a way around them.
    """
    if not isinstance(patterns, list) or not patterns:
        raise PatternError(f"expected a list of paths, not {patterns!r}")
    known = [(pattern, _path(pattern)) for pattern in patterns]

    def matches(value: object) -> bool:
        return isinstance(value, str) and any(
            is_match(value) or (through_links and (real := real_pattern(pattern)) != pattern and _path(real)(value))
            for pattern, is_match in known
        )

    return matches


def real_pattern(pattern: str) -> str:
    """Resolve links before the first ``*`` of a pattern: /bin/* becomes /usr/bin/* where /bin is a link."""
    head, star, tail = pattern.partition("*")
    fixed, slash, begun = head.rpartition("/") if star else (pattern, "", "")
    real = os.path.realpath(fixed or "/")
    return (real if real != "/" or not slash else "") + slash + begun + star + tail


def _scalar(shape: Mapping[str, Any], pattern: object) -> Constraint:
    kinds = [branch["type"] for branch in shape.get("anyOf", [shape])]
    if isinstance(pattern, str) and "string" in kinds:
        matches = text(pattern)
        return lambda value: isinstance(value, str) and matches(value)
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
    matchers = [text(pattern) for pattern in (patterns[:-1] if rest else patterns)]
    fixed = len(matchers)

    def matches(value: Sequence[str]) -> bool:
        return (len(value) == fixed or (rest and len(value) > fixed)) and all(
            fits(element) for fits, element in zip(matchers, value)
        )

    return matches


def _path(pattern: object) -> Matcher:
    if not isinstance(pattern, str) or not pattern.startswith("/"):
        raise PatternError(f"expected an absolute path, not {pattern!r}")
    parts = _components(pattern)
    if "\0" in pattern or any(
        part in (".", "..") or (not part and pattern != "/") or ("**" in part and part != "**") for part in parts
    ):
        raise PatternError(
            f"expected a path without empty components, '.', '..' or '**' beside text, not {pattern!r}"
        )
    runs: list[list[Matcher]] = [[]]  # of components, between one ** and the next
    for part in parts:
        if part == "**":
            runs.append([])
        else:
            runs[-1].append(text(part))
    first, *middle = runs
    ends_open = parts[-1:] == ["**"]

    def matches(path: str) -> bool:
        components = _components(path)
        position = len(first)
        if not path.startswith("/") or not _fit(first, components, 0):
            return False
        if not middle:
            return len(components) == position
        for run in middle[:-1]:
            found = next((at for at in range(position, len(components)) if _fit(run, components, at)), None)
            if found is None:
                return False
            position = found + len(run)
        last = middle[-1]
        left = len(components) - position - len(last)
        if ends_open:
            return left > 0 and components[-1] != ""
        return left >= 0 and _fit(last, components, len(components) - len(last))

    return matches


def _components(path: str) -> list[str]:
    return path[1:].split("/")


def _fit(run: Sequence[Matcher], components: Sequence[str], at: int) -> bool:
    """Return whether the components from index ``at`` on match a run, one by one."""
    return len(components) - at >= len(run) and all(
        fits(component) for fits, component in zip(run, components[at : at + len(run)])
    )
