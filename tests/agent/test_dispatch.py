from __future__ import annotations

import gc
import logging
from importlib import import_module
from typing import Any

import pytest

from qga.agent.audit import Audit
from qga.agent.audit.filesink import FileSink
from qga.agent.binding import bind
from qga.agent.call import Call
from qga.agent.commands import session as session_commands
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.protocol import schema
from qga.protocol.errors import CommandError, RequestError
from qga.protocol.schema import Schema, SchemaError
from tests.conftest import Reply, carried_out
from tests.contexts import context, still_loop

SCHEMA = schema.load()


@pytest.fixture
def dispatcher(host: Host) -> Dispatcher:
    return Dispatcher(context(host, SCHEMA, Policy()), bind(SCHEMA))


def error(desc: str, kind: str = "GenericError") -> dict[str, object]:
    return {"error": {"class": kind, "desc": desc}}


def test_reply_carries_the_id(dispatcher: Dispatcher) -> None:
    assert carried_out(dispatcher, {"execute": "guest-ping"}) == Reply({"return": {}})
    assert carried_out(dispatcher, {"execute": "guest-ping", "id": None}) == Reply({"return": {}, "id": None})


def test_delimited_only_on_success(dispatcher: Dispatcher) -> None:
    good = carried_out(dispatcher, {"execute": "guest-sync-delimited", "arguments": {"id": 5}})
    assert good == Reply({"return": 5}, delimited=True)
    bad = carried_out(dispatcher, {"execute": "guest-sync-delimited", "arguments": {"id": "5"}})
    assert bad is not None
    assert not bad.delimited


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (RequestError("JSON parse error, expecting value"), error("JSON parse error, expecting value")),
        ([], error("QMP input must be a JSON object")),
        ({}, error("QMP input lacks member 'execute'")),
        ({"id": 1}, {**error("QMP input lacks member 'execute'"), "id": 1}),
        ({"execute": 1}, error("QMP input member 'execute' must be a string")),
        ({"execute": 1, "arguments": 1}, error("QMP input member 'execute' must be a string")),
        ({"execute": "nope", "arguments": []}, error("QMP input member 'arguments' must be an object")),
        ({"execute": "nope", "control": 1}, error("QMP input member 'control' is unexpected")),
        ({"exec-oob": "x", "execute": 1}, error("QMP input member 'exec-oob' is unexpected")),
        ({"execute": "nope", "id": 2}, {**error("The command nope has not been found", "CommandNotFound"), "id": 2}),
        ({"execute": "guest-ping", "arguments": {"x": 1}}, error("Parameter 'x' is unexpected")),
    ],
)
def test_refusals(dispatcher: Dispatcher, message: object, body: dict[str, object]) -> None:
    assert carried_out(dispatcher, message) == Reply(body)


def test_policy_decides_before_the_arguments_are_checked(host: Host) -> None:
    dispatcher = Dispatcher(context(host, SCHEMA, Policy(block=["guest-sync"])), bind(SCHEMA))
    assert carried_out(dispatcher, {"execute": "guest-sync"}) == Reply(
        error("Command guest-sync has been disabled: the command is not allowed", "CommandNotFound")
    )


def test_info_reports_what_the_policy_allows(host: Host) -> None:
    dispatcher = Dispatcher(context(host, SCHEMA, Policy(allow=["guest-info", "guest-ping"])), bind(SCHEMA))
    reply = carried_out(dispatcher, {"execute": "guest-info"})
    assert reply is not None
    info: Any = reply.body["return"]
    assert info["version"] == "10.2.2"
    assert {tuple(sorted(entry)) for entry in info["supported_commands"]} == {("enabled", "name", "success-response")}
    assert {entry["name"] for entry in info["supported_commands"] if entry["enabled"]} == {"guest-info", "guest-ping"}


def test_silent_success_and_answered_failure(dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = [(True, []), (True, ["kernel: no"])]
    monkeypatch.setattr("qga.agent.linux.power.suspend", lambda host, mode: answers.pop(0))
    assert carried_out(dispatcher, {"execute": "guest-suspend-ram", "id": 1}) is None
    assert carried_out(dispatcher, {"execute": "guest-suspend-ram", "id": 1}) == Reply(
        {**error("failed to suspend (ram): kernel: no"), "id": 1}
    )


def test_handler_that_raises_becomes_an_error_and_a_log_line(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(ctx: Context) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(session_commands, "guest_ping", broken)
    dispatcher = Dispatcher(context(host, SCHEMA, Policy()), bind(SCHEMA))
    with caplog.at_level(logging.ERROR):
        reply = carried_out(dispatcher, {"execute": "guest-ping"})
    assert reply == Reply(error("internal error: ZeroDivisionError: by zero"))
    assert [record.getMessage() for record in caplog.records] == [
        "guest-ping: internal error: ZeroDivisionError: by zero"
    ]


def test_a_module_whose_file_has_gone_is_one_clear_sentence(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(ctx: Context) -> None:
        import_module("qga.agent.removed")

    monkeypatch.setattr(session_commands, "guest_ping", broken)
    reply = carried_out(Dispatcher(context(host, SCHEMA, Policy()), bind(SCHEMA)), {"execute": "guest-ping"})
    assert reply == Reply(
        error(
            "the agent cannot load its module qga.agent.removed: its files, or Python's, were removed or replaced"
            " while it ran; it has to be restarted"
        )
    )


def calls() -> list[Call]:
    return [thing for thing in gc.get_objects() if isinstance(thing, Call)]


@pytest.mark.parametrize("name", ["nope", "guest-sync", "guest-ping", "guest-file-close", "guest-suspend-ram"])
@pytest.mark.parametrize("audited", [False, True])
def test_a_request_that_failed_is_not_kept_until_garbage_is_collected(
    host: Host, monkeypatch: pytest.MonkeyPatch, name: str, audited: bool
) -> None:
    """The request may be large, and the agent rarely collects garbage."""

    def broken(ctx: Context) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(session_commands, "guest_ping", broken)
    audit = Audit(still_loop(), FileSink("/dev/null"), "test") if audited else None
    dispatcher = Dispatcher(context(host, SCHEMA, Policy()), bind(SCHEMA), audit)
    arguments = {"handle": 1} if name == "guest-file-close" else {}
    gc.collect()
    before = calls()  # other tests have left them
    gc.disable()
    try:
        reply = carried_out(dispatcher, {"execute": name, "arguments": arguments})
        kept = [call for call in calls() if all(call is not other for other in before)]
    finally:
        gc.enable()
    assert reply is not None
    assert "error" in reply.body
    assert kept == []


def toy_schema(**extra: object) -> Schema:
    entry = {"command": "guest-toy", "since": "1.0", "doc": "", "data": {"buf-b64": "str", "*count": "int"}, **extra}
    return Schema({"session": [entry]})


def with_toy(monkeypatch: pytest.MonkeyPatch, handler: object) -> None:
    for name in [name for name in vars(session_commands) if name.startswith("guest_")]:
        monkeypatch.delattr(session_commands, name)
    monkeypatch.setattr(session_commands, "guest_toy", handler, raising=False)
    monkeypatch.setattr("qga.agent.binding._areas", lambda: ["session"])


def test_arguments_go_by_keyword_and_secrets_stay_out_of_the_log(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def guest_toy(ctx: Context, *, buf_b64: str, count: int = -1) -> list[object]:
        return [buf_b64, count]

    with_toy(monkeypatch, guest_toy)
    toy = toy_schema(secret=["buf-b64"])
    dispatcher = Dispatcher(context(host, toy, Policy()), bind(toy))
    with caplog.at_level(logging.DEBUG):
        reply = carried_out(dispatcher, {"execute": "guest-toy", "arguments": {"buf-b64": "c2VjcmV0", "count": 3}})
    assert reply == Reply({"return": ["c2VjcmV0", 3]})
    assert caplog.messages == ["guest-toy called, buf-b64: (not shown), count: 3"]


def test_every_command_has_its_handler_and_every_handler_its_command() -> None:
    assert bind(SCHEMA).keys() == SCHEMA.commands.keys()


def test_command_without_handler_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(session_commands, "guest_ping")
    with pytest.raises(SchemaError) as caught:
        bind(SCHEMA)
    assert str(caught.value) == (
        "schema/session.json: guest-ping has no handler: expected guest_ping() in qga/agent/commands/session.py"
    )


def test_handler_without_command_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_commands, "guest_pong", lambda ctx: None, raising=False)
    with pytest.raises(SchemaError) as caught:
        bind(SCHEMA)
    assert str(caught.value) == (
        "qga/agent/commands/session.py: guest_pong() has no entry: expected guest-pong in schema/session.json"
    )


def test_handler_with_other_arguments_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def guest_toy(ctx: Context, *, buf_b64: str, count: int) -> None:
        raise CommandError("never called")

    with_toy(monkeypatch, guest_toy)
    with pytest.raises(SchemaError) as caught:
        bind(toy_schema())
    assert str(caught.value) == (
        "qga/agent/commands/session.py: guest_toy() takes buf_b64, count:"
        " expected buf_b64, count=…, as in schema/session.json"
    )
