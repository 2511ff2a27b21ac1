"""The two clients have the same methods, and each method refuses what it does not know."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from qga.client import AsyncClient, AsyncFreeze, AsyncGuestFile, Client, Freeze, GuestFile
from tests.repository import REPOSITORY

# What belongs to ``with`` in the one, belongs to ``async with`` in the other. Only one is a file object of io's.
PAIRS = [(Client, AsyncClient), (Freeze, AsyncFreeze)]
NEVER_WAIT = {"close", "open", "freeze"}


def public(kind: type) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS)
def test_no_method_is_in_one_only(blocking: type, awaited: type) -> None:
    assert public(blocking).keys() == public(awaited).keys()
    for name, method in public(blocking).items():
        ours, theirs = inspect.signature(method), inspect.signature(public(awaited)[name])
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        assert ours.return_annotation == theirs.return_annotation.replace("Async", ""), name


def test_what_waits_is_awaited() -> None:
    for name, method in public(AsyncClient).items():
        assert inspect.iscoroutinefunction(method) == (name not in NEVER_WAIT), name
        assert not inspect.iscoroutinefunction(public(Client)[name])


def test_files_have_the_same_methods() -> None:
    assert public(AsyncGuestFile).keys() <= public(GuestFile).keys()


def test_what_both_carry_out_waits_for_nothing_itself() -> None:
    client = REPOSITORY / "qga" / "client"
    for path in (client / "session.py", client / "connection.py", *client.glob("operations/*.py")):
        imported = {
            name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert not imported & {"asyncio", "select", "selectors", "socket", "serial", "threading"}, path


def test_what_is_not_a_request_is_refused() -> None:
    async def sleeps() -> None:
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match=r"awaited None: expected a request"):
        Client("unix:/no/such").carry_out(sleeps())


def test_an_option_that_is_mistyped_is_refused() -> None:
    for name, method in public(Client).items():
        kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
        assert (inspect.Parameter.VAR_KEYWORD in kinds) == (name == "call"), name
    with pytest.raises(TypeError, match="verfy"):
        Client("unix:/no/such").upload("a", "b", verfy=False)  # type: ignore[call-arg]


def test_a_text_is_not_a_list_of_words() -> None:
    hint = r"not the text 'uname -a': write \['uname', '-a'\], or \['sh', '-c', 'uname -a'\]"
    with pytest.raises(TypeError, match=hint):
        Client("unix:/no/such").run("uname -a")
    with pytest.raises(TypeError, match=hint):
        asyncio.run(AsyncClient("unix:/no/such").run("uname -a"))
