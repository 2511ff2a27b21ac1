"""The configuration file qemu-ga.conf: a key-file with one group, whose keys are those of the table of options.

The rule it keeps: nothing that may be meant as a restriction is ignored. A group or key that may be misspelled, or
may be meant to restrict something, is a problem and prevents the start. Any other unknown key is ignored with a
warning, as QEMU's agent ignores it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qga.agent.config import keyfile
from qga.agent.config.options import IGNORED, OPTIONS, REMOVED, ConfigError
from qga.agent.spelling import hint, may_restrict, similar

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "general"


def read(path: str, *, must_exist: bool) -> keyfile.Groups:
    """Return the groups of the file, or an empty dict if it does not exist and may be missing. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            return keyfile.parse(file.read())
    except FileNotFoundError as error:
        if must_exist or os.path.islink(path):  # a dangling link: somebody meant to configure the agent
            raise _unloadable(path, str(error.strerror)) from None
        return {}
    except OSError as error:
        raise _unloadable(path, str(error.strerror)) from None
    except keyfile.KeyFileError as error:
        raise _unloadable(path, str(error)) from None


def entries(groups: keyfile.Groups) -> Mapping[str, keyfile.Entry]:
    """Return the entries of the agent's group, or none if the file lacks it."""
    return groups.get(GROUP, keyfile.Group())


def judge(path: str, groups: keyfile.Groups) -> tuple[list[str], list[str]]:
    """Return problems with groups and keys that must not be ignored, and warnings about keys that are ignored."""
    known = [option.key for option in OPTIONS]
    problems = [
        f"{path}, line {group.line}: unknown group {name!r}, expected [{GROUP}] and no other"
        for name, group in groups.items()
        if name != GROUP
    ]
    warnings = []
    for key, entry in entries(groups).items():
        where = f"{path}, line {entry.line}"
        if key in known:
            continue
        if key in REMOVED:
            problems.append(f"{where}: the key {key!r} was removed, use {REMOVED[key]!r}")
        elif key in IGNORED:
            warnings.append(f"{where}: {key!r} is ignored: {IGNORED[key]}")
        elif similar(key, known):
            problems.append(f"{where}: unknown key {key!r}{hint(key, known)}")
        elif may_restrict(key):
            problems.append(f"{where}: unknown key {key!r}: it may be meant to restrict something, and would not")
        else:
            warnings.append(f"{where}: unknown key {key!r} ignored")
    return problems, warnings


def string(path: str, key: str, entry: keyfile.Entry) -> str:
    """Return the value of a key with its escapes decoded. Raises ConfigError."""
    try:
        return entry.string()
    except keyfile.KeyFileError as error:
        raise _unloadable(path, f"{error} ({key})") from None


def _unloadable(path: str, text: str) -> ConfigError:
    return ConfigError(f"error loading configuration from path: {path}, {text}")
