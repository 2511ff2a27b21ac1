"""The schema: the commands with their names, arguments, results and flags.

``schema/*.json`` is the only list of commands. A file is a list of QAPI-like definitions; ``schema/meta.json`` says
which shapes they may have. A test checks the package's own files against it; any other directory is checked when it
is loaded. Type names are always checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from qga.protocol import resources
from qga.protocol.validate import Validator, compile_validator, first_complaint

INTERFACE_VERSION = "10.2.2"  # the QEMU release whose guest agent interface this implements; clients parse it

_META = "meta.json"
_KINDS = ("command", "struct", "enum", "alternate", "union")

INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
# A uint64 accepts negative numbers, as in QEMU, where they wrap; the handler gets the number as it was sent.
_BUILTIN: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "minimum": INT64_MIN, "maximum": INT64_MAX},
    "uint64": {"title": "uint64", "type": "integer", "minimum": INT64_MIN, "maximum": UINT64_MAX},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "number": {"type": "number"},
}


class SchemaError(Exception):
    """The schema is not valid; the text says which file and definition, and what was expected."""


class Command(NamedTuple):
    """One command of the schema; schema/meta.json describes the flags.

    ``arguments`` is the JSON Schema of its arguments, ``argument_docs`` says what each of them means. No log shows
    the arguments in ``secret`` and ``payload``. The audit log has hashes of payloads, but not of secrets: some are
    short enough to be guessed from a hash.
    """

    name: str
    area: str
    arguments: Mapping[str, Any]
    returns: str | None
    since: str
    doc: str
    argument_docs: Mapping[str, str]
    success_response: bool
    allow_frozen: bool
    delimited: bool
    slow: bool
    sync: bool
    gives_root: bool
    secret: frozenset[str]
    payload: frozenset[str]
    file: str | None
    program: str | None
    follows: str | None

    @property
    def function(self) -> str:
        """The name of the handler: guest_get_load for guest-get-load."""
        return self.name.replace("-", "_")

    @property
    def members(self) -> list[str]:
        """The names of the arguments, in the order of the schema."""
        return list(self.arguments["properties"])

    def validator(self) -> Validator:
        """Compile a function that raises RequestError for invalid arguments. That takes some milliseconds."""
        return compile_validator(self.arguments)


class Schema:
    """All definitions. ``commands`` maps names to commands, in the order of the file names and then of each file."""

    def __init__(self, files: Mapping[str, list[dict[str, Any]]]) -> None:
        """Resolve valid definitions, given by area, which is a file's name without .json. Raises SchemaError."""
        self._entries: dict[str, dict[str, Any]] = {}
        self._types: dict[str, dict[str, Any]] = {}
        self.commands: dict[str, Command] = {}
        for area, definitions in files.items():
            for entry in definitions:
                name = entry[_kind(entry)]
                if name in self._entries:
                    raise SchemaError(f"schema/{area}.json: {name} is defined twice")
                self._entries[name] = entry
        for area, definitions in files.items():
            for entry in definitions:
                try:
                    self._resolve(area, entry)
                except KeyError as error:
                    raise SchemaError(
                        f"schema/{area}.json: {entry[_kind(entry)]}: there is no type or member {error}"
                    ) from None

    @property
    def allowed_while_frozen(self) -> list[str]:
        """The names of the commands that may run while filesystems are frozen."""
        return [command.name for command in self.commands.values() if command.allow_frozen]

    def definition(self, name: str) -> Mapping[str, Any]:
        """Return the entry of a command or type in ``schema/*.json``. Raises KeyError for a built-in type."""
        return self._entries[name]

    def type(self, reference: str | list[str]) -> dict[str, Any]:
        """Return the JSON Schema of a type by its name, where ``["x"]`` is a list of x.

        Raises KeyError for an unknown name.
        """
        if isinstance(reference, list):
            return {"type": "array", "items": self.type(reference[0])}
        if reference in _BUILTIN:
            return _BUILTIN[reference]
        known = self._types.get(reference)
        if known is None:
            known = self._types[reference] = self._type(reference)
        return known

    def _type(self, reference: str) -> dict[str, Any]:
        entry = self._entries[reference]
        kind = _kind(entry)
        if kind == "command":
            raise KeyError(reference)
        if kind == "enum":
            return {"title": reference, "type": "string", "enum": entry["data"]}
        if kind == "alternate":
            return {"title": reference, "anyOf": [self.type(branch) for branch in entry["data"].values()]}
        if kind == "union":
            branches = self._branches(entry)
            return {"title": reference, "oneOf": branches, "discriminator": entry["discriminator"]}
        return self._members(entry["data"])

    def _members(self, data: Mapping[str, Any]) -> dict[str, Any]:
        required = [name for name in data if not name.startswith("*")]
        return {
            "type": "object",
            "properties": {name.removeprefix("*"): self.type(reference) for name, reference in data.items()},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def _branches(self, union: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return an object schema for each value of the discriminator: members of the base and of the branch."""
        branches = []
        for value, name in union["data"].items():
            members = self._members({**union["base"], **self._entries[name]["data"]})
            members["properties"][union["discriminator"]] = {"type": "string", "enum": [value]}
            branches.append(members)
        return branches

    def _resolve(self, area: str, entry: Mapping[str, Any]) -> None:
        if "command" not in entry:
            self.type(entry[_kind(entry)])
            return
        returns = entry.get("returns")
        if returns is not None:
            self.type(returns)
        arguments = self._members(entry.get("data", {}))
        for name in (*entry.get("secret", ()), *entry.get("payload", ())):
            arguments["properties"][name]  # raises KeyError with the name of a missing member
        for flag in ("file", "program"):
            if flag in entry:
                arguments["properties"][entry[flag]]
                if entry.get("slow"):
                    raise SchemaError(
                        f"schema/{area}.json: {entry['command']} has both slow and {flag}: expected only one of them,"
                        " because the file that the policy checked is held open only until the handler returns"
                    )
        if "follows" in entry:
            self._entries[entry["follows"]]
        self.commands[entry["command"]] = Command(
            name=entry["command"],
            area=area,
            arguments=arguments,
            returns=returns,
            since=entry["since"],
            doc=entry["doc"],
            argument_docs=entry.get("members", {}),
            success_response=entry.get("success-response", True),
            allow_frozen=entry.get("allow-frozen", False),
            delimited=entry.get("delimited", False),
            slow=entry.get("slow", False),
            sync=entry.get("sync", False),
            gives_root=entry.get("gives-root", False),
            secret=frozenset(entry.get("secret", ())),
            payload=frozenset(entry.get("payload", ())),
            file=entry.get("file"),
            program=entry.get("program"),
            follows=entry.get("follows"),
        )


def _kind(entry: Mapping[str, Any]) -> str:
    return next(kind for kind in _KINDS if kind in entry)


def directory() -> str:
    """Return the schema's directory: inside the package if it is installed, beside it in a checkout."""
    installed = os.path.join(resources.PACKAGE, "_schema")
    beside = os.path.join(os.path.dirname(resources.PACKAGE), "schema")
    return installed if os.path.isdir(installed) or not os.path.isdir(beside) else beside


def load(where: str | None = None) -> Schema:
    """Read and resolve the package's schema, or that in ``where``, which is checked first. Raises SchemaError."""
    place = where or directory()
    names = sorted(name for name in resources.list_directory(place) if name.endswith(".json") and name != _META)
    files = {name.removesuffix(".json"): _read(place, name) for name in names}
    if where is not None:
        _check(_read(where, _META), files)
    return Schema(files)


def _check(meta: dict[str, Any], files: Mapping[str, object]) -> None:
    """Check files against the meta schema, which takes a tenth of the agent's start time. Raises SchemaError."""
    for area, definitions in files.items():
        if first_complaint(meta, definitions) is not None:
            raise SchemaError(f"schema/{area}.json: {_explain(meta, definitions)}")


def _read(where: str, name: str) -> Any:
    try:
        return json.loads(resources.read(os.path.join(where, name)))
    except OSError as error:
        raise SchemaError(f"schema/{name}: cannot read it: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise SchemaError(f"schema/{name}:{error.lineno}: not valid JSON: {error.msg}") from error


def _explain(meta: dict[str, Any], definitions: object) -> str:
    """Return which definition is not valid and why, judged by the shape for its kind."""
    if not isinstance(definitions, list):
        return "expected a list of definitions"
    for number, entry in enumerate(definitions, 1):
        kinds = [kind for kind in _KINDS if isinstance(entry, dict) and kind in entry]
        if len(kinds) != 1:
            return f"definition {number}: expected exactly one of {', '.join(_KINDS)}"
        shape = {"$ref": f"#/definitions/{kinds[0]}", "definitions": meta["definitions"]}
        complaint = first_complaint(shape, entry)
        if complaint is not None:
            return f"{kinds[0]} {entry[kinds[0]]!r}: {complaint}"
    return "expected a list of definitions"
