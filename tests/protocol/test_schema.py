from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from qga.protocol import schema
from qga.protocol.schema import Schema, SchemaError

DIRECTORY = Path(schema.directory())
META = json.loads((DIRECTORY / "meta.json").read_text())
FILES = [path for path in sorted(DIRECTORY.glob("*.json")) if path.name != "meta.json"]
DOC = "A thing for tests."


def test_meta_schema_is_a_schema() -> None:
    Draft4Validator.check_schema(META)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_member_has_a_doc_and_no_doc_is_of_another(path: Path) -> None:
    """Docs are in the order of definition, so that the place for a new member is easy to find."""
    for entry in json.loads(path.read_text()):
        names = [name.removeprefix("*") for name in entry.get("base") or entry.get("data", ())]
        assert list(entry.get("members", ())) == ([] if "alternate" in entry else names), entry


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_held_to_the_meta_schema(path: Path) -> None:
    assert list(Draft4Validator(META).iter_errors(json.loads(path.read_text()))) == []


def test_every_command_resolves() -> None:
    commands = schema.load().commands
    assert {"guest-sync", "guest-sync-delimited", "guest-ping", "guest-info"} <= commands.keys()
    for command in commands.values():
        Draft4Validator.check_schema(dict(command.arguments))


def test_flags() -> None:
    commands = schema.load().commands
    silent = {name for name, command in commands.items() if not command.success_response}
    assert silent == {"guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"}
    assert [name for name, command in commands.items() if command.delimited] == ["guest-sync-delimited"]
    assert {name for name, command in commands.items() if command.gives_root} == {
        "guest-exec",
        "guest-file-open",
        "guest-set-user-password",
    }
    assert {command.name for command in commands.values() if command.file} == {"guest-file-open"}
    assert {command.name for command in commands.values() if command.program} == {"guest-exec"}
    for name, command in commands.items():
        given = {"guest-file-open": "handle", "guest-exec": "pid"}.get(command.follows or "")
        assert [member for member in command.members if member in ("handle", "pid")] == ([given] if given else []), (
            name
        )
    assert {"guest-ping", "guest-info", "guest-sync", "guest-sync-delimited"} <= {
        name for name, command in commands.items() if command.allow_frozen
    }


def broken(tmp_path: Path, text: str) -> str:
    """Return the error of loading a schema that contains this file."""
    shutil.copy(DIRECTORY / "meta.json", tmp_path)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SchemaError) as caught:
        schema.load(str(tmp_path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def command(**members: Any) -> str:
    docs = {"members": dict.fromkeys(members["data"], DOC)} if "data" in members else {}
    return json.dumps([{"command": "guest-x", "since": "1.1", "doc": DOC, **docs, **members}])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[\n{]", "schema/x.json:2: not valid JSON: "),
        ("{}", "schema/x.json: expected a list of definitions"),
        ('[{"comand": "guest-x"}]', "schema/x.json: definition 1: expected exactly one of command, struct, enum"),
        (command(data={"x": "integer"}), "schema/x.json: command 'guest-x': data.x: 'integer' does not match"),
        (command(data={"id": "Nonsuch"}), "schema/x.json: guest-x: there is no type or member 'Nonsuch'"),
        (command(returns="Nonsuch"), "schema/x.json: guest-x: there is no type or member 'Nonsuch'"),
        (command(secret=["password"]), "schema/x.json: guest-x: there is no type or member 'password'"),
        (command(file="path"), "schema/x.json: guest-x: there is no type or member 'path'"),
        (command(program="path"), "schema/x.json: guest-x: there is no type or member 'path'"),
        (
            command(data={"f": "str"}, file="f", slow=True),
            "schema/x.json: guest-x has both slow and file",
        ),
        (command(data={"f": "str"}, program="f", slow=True), "schema/x.json: guest-x has both slow and program"),
        (command(follows="guest-y"), "schema/x.json: guest-x: there is no type or member 'guest-y'"),
        (command(**{"allow-frozn": True}), "schema/x.json: command 'guest-x': Additional properties are not allowed"),
        (command(data={"x": "int"}, members={}), "schema/x.json: command 'guest-x': members: {} "),
        (command(members={"x": DOC}), "schema/x.json: command 'guest-x': 'data' is a dependency of 'members'"),
        (
            '[{"enum": "On", "data": ["on"], "doc": "Is it on."}]',
            "schema/x.json: enum 'On': 'members' is a required",
        ),
        (command(**{"success-response": True}), "schema/x.json: command 'guest-x': success-response: True is not"),
        (command(command="Guest_X"), "schema/x.json: command 'Guest_X': command: 'Guest_X' does not match"),
        (command()[:-1] + "," + command()[1:], "schema/x.json: guest-x is defined twice"),
    ],
)
def test_broken_schema_says_where_and_what(tmp_path: Path, text: str, said: str) -> None:
    assert broken(tmp_path, text).startswith(said)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"schema/meta\.json: cannot read it: No such file or directory"):
        schema.load(str(tmp_path))


def test_members_of_a_command_and_of_a_type() -> None:
    known = schema.load()
    assert known.commands["guest-file-read"].argument_docs["count"].endswith("Unset: 4096.")
    assert known.commands["guest-ping"].argument_docs == {}
    assert known.definition("QGASeek")["members"]["end"] == "The end of the file."
    with pytest.raises(KeyError):
        known.definition("int")


def test_types() -> None:
    types = Schema(
        {
            "x": [
                {"enum": "Mode", "data": ["on", "off"]},
                {"alternate": "Switch", "data": {"b": "bool", "m": "Mode"}},
                {"struct": "A", "data": {"*n": "number"}},
                {"struct": "B", "data": {"s": ["str"]}},
                {"union": "U", "base": {"type": "Mode"}, "discriminator": "type", "data": {"on": "A", "off": "B"}},
            ]
        }
    )

    def valid(name: str, value: object) -> bool:
        return Draft4Validator(types.type(name)).is_valid(value)

    assert valid("Switch", True)
    assert valid("Switch", "on")
    assert not valid("Switch", 1)
    assert valid("U", {"type": "on", "n": 1.5})
    assert valid("U", {"type": "off", "s": ["x"]})
    assert not valid("U", {"type": "off", "n": 1.5})
    assert not valid("U", {"type": "dim"})
