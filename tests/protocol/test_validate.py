"""The compiled validator decides and jsonschema explains: they must agree, in the words of QAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from qga.protocol.errors import RequestError
from qga.protocol.schema import Schema
from qga.protocol.validate import compile_validator

SHAPE: Mapping[str, Any] = (
    Schema(
        {
            "x": [
                {"enum": "Whence", "data": ["set", "cur"]},
                {"alternate": "FileWhence", "data": {"value": "int", "name": "Whence"}},
                {"struct": "Cpu", "data": {"logical-id": "int", "online": "bool", "*can-offline": "bool"}},
                {"struct": "Fast", "data": {"speed": "int"}},
                {"struct": "Slow", "data": {}},
                {
                    "union": "Pace",
                    "base": {"kind": "Whence"},
                    "discriminator": "kind",
                    "data": {"set": "Fast", "cur": "Slow"},
                },
                {
                    "command": "guest-x",
                    "since": "1.0",
                    "doc": "",
                    "data": {
                        "cpus": ["Cpu"],
                        "*name": "str",
                        "*whence": "FileWhence",
                        "*only": "Whence",
                        "*index": "uint64",
                        "*ratio": "number",
                        "*pace": "Pace",
                    },
                },
            ]
        }
    )
    .commands["guest-x"]
    .arguments
)
ACCEPTS = compile_validator(SHAPE)
CPU = {"logical-id": 0, "online": True}


def said(arguments: object) -> str:
    with pytest.raises(RequestError) as caught:
        ACCEPTS(arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"cpus": []},
        {"cpus": [CPU, {**CPU, "can-offline": False}], "name": "", "only": "set"},
        {"cpus": [], "whence": 2},
        {"cpus": [], "whence": "cur"},
        {"cpus": [{"logical-id": -(2**63), "online": False}], "index": 2**64 - 1},
        {"cpus": [], "index": -1, "ratio": 1},
        {"cpus": [], "ratio": 1.5},
        {"cpus": [], "pace": {"kind": "set", "speed": 3}},
        {"cpus": [], "pace": {"kind": "cur"}},
    ],
)
def test_accepted(arguments: object) -> None:
    ACCEPTS(arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "Parameter 'cpus' is missing"),
        ({"cpus": None}, "Invalid parameter type for 'cpus', expected: array"),
        ({"cpus": [1]}, "Invalid parameter type for 'cpus[0]', expected: object"),
        ({"cpus": [CPU, {"logical-id": 1}]}, "Parameter 'cpus[1].online' is missing"),
        ({"cpus": [{**CPU, "online": 1}]}, "Invalid parameter type for 'cpus[0].online', expected: boolean"),
        (
            {"cpus": [{**CPU, "logical-id": 1.0}]},
            "Invalid parameter type for 'cpus[0].logical-id', expected: integer",
        ),
        (
            {"cpus": [{**CPU, "logical-id": True}]},
            "Invalid parameter type for 'cpus[0].logical-id', expected: integer",
        ),
        (
            {"cpus": [{**CPU, "logical-id": 2**63}]},
            "Invalid parameter type for 'cpus[0].logical-id', expected: integer",
        ),
        ({"cpus": [{**CPU, "zz": 1}]}, "Parameter 'cpus[0].zz' is unexpected"),
        ({"cpus": [], "name": 5}, "Invalid parameter type for 'name', expected: string"),
        ({"cpus": [], "only": "end"}, "Parameter 'only' does not accept value 'end'"),
        ({"cpus": [], "only": 1}, "Invalid parameter type for 'only', expected: string"),
        ({"cpus": [], "whence": "middle"}, "Parameter 'whence' does not accept value 'middle'"),
        ({"cpus": [], "whence": None}, "Invalid parameter type for 'whence', expected: FileWhence"),
        ({"cpus": [], "whence": True}, "Invalid parameter type for 'whence', expected: FileWhence"),
        ({"cpus": [], "whence": 1.5}, "Invalid parameter type for 'whence', expected: integer"),
        ({"cpus": [], "index": 1.0}, "Parameter 'index' expects uint64"),
        ({"cpus": [], "index": "1"}, "Parameter 'index' expects uint64"),
        ({"cpus": [], "index": 2**64}, "Parameter 'index' expects uint64"),
        ({"cpus": [], "ratio": True}, "Invalid parameter type for 'ratio', expected: number"),
        ({"cpus": [], "pace": "set"}, "Invalid parameter type for 'pace', expected: object"),
        ({"cpus": [], "pace": {"speed": 3}}, "Parameter 'pace.kind' is missing"),
        ({"cpus": [], "pace": {"kind": "end"}}, "Parameter 'pace.kind' does not accept value 'end'"),
        ({"cpus": [], "pace": {"kind": "set"}}, "Parameter 'pace.speed' is missing"),
        ({"cpus": [], "pace": {"kind": "cur", "speed": 3}}, "Parameter 'pace.speed' is unexpected"),
        ({"cpus": [], "x": 1}, "Parameter 'x' is unexpected"),
    ],
)
def test_refused_in_qapi_words(arguments: object, words: str) -> None:
    assert said(arguments) == words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": 1}, "Parameter 'cpus' is missing"),
        ({"only": "end", "name": 1, "cpus": []}, "Invalid parameter type for 'name', expected: string"),
        ({"name": 1}, "Parameter 'cpus' is missing"),
        ({"cpus": [{"zz": 1}], "name": 1}, "Parameter 'cpus[0].logical-id' is missing"),
        ({"cpus": [{**CPU, "zz": 1}], "name": 1}, "Parameter 'cpus[0].zz' is unexpected"),
        ({"cpus": [CPU, 7, {}]}, "Invalid parameter type for 'cpus[1]', expected: object"),
        ({"cpus": [{"online": 1}]}, "Parameter 'cpus[0].logical-id' is missing"),
    ],
)
def test_first_problem_in_schema_order_wins(arguments: object, words: str) -> None:
    assert said(arguments) == words


values = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2**63, 2**64, 1.0, 1.5, "set", "end", ""])
    | st.integers(-(2**65), 2**65),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["logical-id", "online", "can-offline", "kind", "speed", "zz"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
requests = st.dictionaries(st.sampled_from([*SHAPE["properties"], "x"]), values, max_size=5)


@pytest.mark.slow
@given(requests)
def test_both_validators_agree_and_always_give_a_message(arguments: dict[str, object]) -> None:
    if Draft4Validator(SHAPE).is_valid(arguments):
        ACCEPTS(arguments)
    else:
        assert "arameter" in said(arguments)
