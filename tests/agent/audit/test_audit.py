"""The audit log: what a record says, where it goes, and what happens when it cannot be written."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qga.agent.audit import Audit, backlog, sinks
from qga.agent.audit.filesink import FileSink
from qga.agent.audit.journal import JournalSink
from qga.agent.binding import bind
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.agent.session import Session
from qga.agent.state.freeze import FreezeState
from qga.agent.tasks import Pending
from qga.protocol import schema
from tests.conftest import FakePrograms, carried_out
from tests.contexts import context, still_loop
from tests.lines import Lines
from tests.running import RunningAgent

SCHEMA = schema.load()
SOON = 10.0


class Kept:
    """A sink that keeps the records, unless a test makes it fail."""

    name = "kept"

    def hurry(self) -> None:
        pass

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.error: OSError | None = None

    def open(self) -> None:
        pass

    def write(self, record: sinks.Record) -> None:
        if self.error is not None:
            raise self.error
        self.records.append(json.loads(json.dumps(record)))

    def close(self) -> None:
        pass

    def fileno(self) -> int | None:
        return None

    def events(self) -> list[str]:
        return [record.get("command", record["event"]) for record in self.records]


class Recorded:
    """An agent's dispatcher with its audit log."""

    def __init__(self, host: Host, sink: sinks.Sink, policy: Policy | None = None, **config: object) -> None:
        self.policy = policy or Policy(while_frozen=SCHEMA.allowed_while_frozen)
        self.audit = Audit(still_loop(), sink, "test", self.policy.on_audit_failure)
        self.ctx = context(host, SCHEMA, self.policy)
        self.dispatcher = Dispatcher(self.ctx, bind(SCHEMA), self.audit)

    def ask(self, name: str, size: int = 0, **arguments: object) -> Any:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        reply = carried_out(self.dispatcher, {"execute": name, "arguments": given}, size)
        return None if reply is None else reply.body


@pytest.fixture(autouse=True)
def _as_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """Remove whatever an earlier test has set up."""
    caplog.set_level(logging.WARNING, "qga")


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def recorded(host: Host, kept: Kept) -> Recorded:
    return Recorded(host, kept)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_record_of_a_command(recorded: Recorded, kept: Kept) -> None:
    recorded.audit.peer = {"uid": 0, "pid": 7}
    assert recorded.ask("guest-sync", 50, id=5) == {"return": 5}
    (record,) = kept.records
    assert abs(record.pop("time") - time.time()) < SOON
    assert 0 <= record.pop("seconds") < SOON
    assert record == {
        "event": "command",
        "seq": 1,
        "channel": "test",
        "peer": {"uid": 0, "pid": 7},
        "command": "guest-sync",
        "arguments": {"id": 5},
        "decision": "allowed",
        "in": 50,
        "out": len('{"return":5}\n'),
        "result": 5,
    }


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"execute": "guest-nope"}, ("guest-nope", "invalid", "The command guest-nope has not been found")),
        ({"execute": "hunter2 is it"}, ("(not shown)", "invalid", "The command (not shown) has not been found")),
        (
            {"execute": "guest-ping", "x": 1},
            ("guest-ping", "invalid", "QMP input member '(not shown)' is unexpected"),
        ),
        ({"execute": "guest-exec"}, ("guest-exec", "refused", None)),
        ({"execute": "guest-sync"}, ("guest-sync", "allowed", "Parameter 'id' is missing")),
        ({"execute": "guest-file-close", "arguments": {"handle": 3}}, ("guest-file-close", "allowed", None)),
    ],
)
def test_a_record_says_what_was_decided(
    host: Host, kept: Kept, message: dict[str, object], expected: tuple[object, ...]
) -> None:
    recorded = Recorded(host, kept, Policy(block=["guest-exec"]))
    carried_out(recorded.dispatcher, message)
    (record,) = kept.records
    name, decision, error = expected
    assert (record["command"], record["decision"]) == (name, decision)
    assert record["error"] == error if error else "error" in record


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": "/etc/shadow", "mode": "r"}, {"path": "/etc/shadow", "mode": "r"}),
        ({"path": "/etc/shadow", "x": "hunter2", "y": 1}, {"path": "/etc/shadow", "(not shown)": 2}),
        ({"path": ["hunter2"], "mode": {"hunter2": 1}}, {"path": "(not shown)", "mode": "(not shown)"}),
        ({"path": "x" * 8_000_000}, {"path": "x" * 256 + "... (8000000 characters)"}),
        ({"x" * 8_000_000: "y"}, {"(not shown)": 1}),
        ({str(n): n for n in range(10_000)}, {"(not shown)": 10_000}),
        ({}, None),
    ],
)
@pytest.mark.parametrize("refused", [True, False])
def test_refused_and_invalid_requests_are_recorded(
    host: Host, kept: Kept, arguments: dict[str, object], expected: object, refused: bool
) -> None:
    policy = Policy(block=["guest-file-open"]) if refused else None
    Recorded(host, kept, policy).dispatcher.handle({"execute": "guest-file-open", "arguments": arguments})
    (record,) = kept.records
    assert record["decision"] == ("refused" if refused else "allowed")
    assert record.get("arguments") == expected
    assert len(json.dumps(record)) < 6000


def test_payloads_and_secrets_of_refused_requests_are_not_recorded(host: Host, kept: Kept) -> None:
    recorded = Recorded(host, kept, Policy(block=["guest-exec"]))
    recorded.ask("guest-exec", path="/bin/sh", arg=["-c", "hunter2"], env=["A=hunter2"], input_data=encoded(b"hello"))
    recorded.ask("guest-exec", path="/bin/sh", arg=["-c", 2], env="hunter2", capture_output="hunter2")
    valid, invalid = (record["arguments"] for record in kept.records)
    assert valid == {
        "path": "/bin/sh",
        "arg": {"bytes": 11, "hash": recorded.audit._hash(b"-c\0hunter2\0")},
        "env": {"bytes": 10},
        "input-data": {"bytes": 5, "hash": recorded.audit._hash(b"hello")},
    }
    assert invalid == {"path": "/bin/sh", **dict.fromkeys(("arg", "env", "capture-output"), "(not shown)")}


def test_arguments_of_an_unknown_command_are_counted(host: Host, kept: Kept) -> None:
    Recorded(host, kept).dispatcher.handle({"execute": "guest-nope", "arguments": {"a": "hunter2", "hunter2": 1}})
    assert kept.records[0]["arguments"] == {"(not shown)": 2}


def test_hashes_differ_between_runs_of_the_agent(host: Host, kept: Kept) -> None:
    """Within one run equal values have equal hashes; readers of the log cannot guess short values."""
    for recorded in (Recorded(host, kept), Recorded(host, kept)):
        for word in ("4711", "4711", "4712"):
            recorded.ask("guest-exec", path="/nonexistent", arg=[word])
    first, second, other, again, *_ = (record["arguments"]["arg"]["hash"] for record in kept.records)
    assert first == second
    assert len({first, other, again}) == 3
    assert first != hashlib.sha256(b"4711\0").hexdigest()[:32]


LONG = b'"' + b"x" * 10_000


@pytest.mark.parametrize(
    ("sent", "error", "size"),
    [
        (b'{"execute": hunter2}\n', "JSON parse error, invalid keyword '(not shown)'", 21),
        (b'{"execute": #hunter}\n', "JSON parse error, stray '(not shown)'", 21),
        (b'{"execute": \xff', "JSON parse error, stray '(not shown)'", 13),
        (b'{"execute"\n, "hunter2": 1}\n', "JSON parse error, missing : in object pair", 27),
        (b'{"execute": "\\ude00hunter2"}\n', "JSON parse error, (not shown)", 29),
        (b'{"execute": "\\uhunter2"}\n', "JSON parse error, (not shown)", 25),
        (b'["hunter2"]\n', "it is not a JSON object", 12),
        (b'"hunter2"\n', "it is not a JSON object", 10),
        (b'{"execute": "hunter2\xff', "JSON parse error, stray '(not shown)'", 21),
        (LONG + b"\n", "JSON parse error, stray '(not shown)'", 10_002),
        (b"[" * 2000 + b"\n", "JSON nesting depth limit exceeded", None),
    ],
)
def test_a_malformed_request_is_recorded_by_its_size_and_a_hash(
    host: Host, kept: Kept, sent: bytes, error: str, size: int | None
) -> None:
    recorded = Recorded(host, kept)
    recorded.audit.peer = {"uid": 7, "pid": 8}
    session = Session(recorded.dispatcher)

    def feed(data: bytes) -> list[dict[str, Any]]:
        before = len(kept.records)
        session.receive(data)
        while session.next_reply() is not None:
            pass
        return kept.records[before:]

    record, *more = feed(sent)
    assert more == []
    assert (record["event"], record["error"], record["channel"]) == ("malformed", error, "test")
    assert record["peer"] == {"uid": 7, "pid": 8}
    assert size is None or record["in"] == size
    assert len(json.dumps(record)) < 500
    feed(b"\xff\n")
    again, *_ = feed(sent)
    assert again["hash"] == record["hash"]
    feed(b"\xff\n")
    other, *_ = feed(sent.replace(b"e", b"E").replace(b"xxx", b"xyz").replace(b"[[[", b"[ ["))
    assert other["hash"] != record["hash"]


@pytest.mark.slow
def test_the_0xff_that_ends_a_partial_request_is_not_malformed(host: Host, kept: Kept) -> None:
    """Clients send a byte 0xFF before every sync."""
    session = Session(Recorded(host, kept).dispatcher)
    replies = []
    for piece in (b"\xff", b'\xff{"execute":"guest-sync","arguments":{"id":7}}\n', b"\xff" * 100_000):
        session.receive(piece)
        while (reply := session.next_reply()) is not None:
            replies.append(reply)
    assert replies[2] == b'{"return":7}\n'
    assert [(r["command"], r["in"]) for r in kept.records] == [("guest-sync", 46)]


def test_garbage_cannot_fill_the_log(host: Host, kept: Kept) -> None:
    """There is one record per read, not one per byte."""
    session = Session(Recorded(host, kept).dispatcher)
    for _ in range(3):
        session.receive(b"\xfe\xff" * 1000)
        while session.next_reply() is not None:
            pass
    assert [record["in"] for record in kept.records] == [2000] * 3


def test_the_rule_that_decided_is_recorded(host: Host, kept: Kept) -> None:
    recorded = Recorded(host, kept, Policy(allow=["guest-ping", "guest-sync"], block=["guest-sync"]))
    for name in ("guest-ping", "guest-sync", "guest-info"):
        recorded.ask(name, id=1) if name == "guest-sync" else recorded.ask(name)
    assert [(r["decision"], r.get("rule")) for r in kept.records] == [
        ("allowed", "allow-rpcs"),
        ("refused", "block-rpcs"),
        ("refused", "allow-rpcs"),
    ]


def test_payloads_are_recorded_as_sizes_and_hashes_and_secrets_as_sizes_only(
    recorded: Recorded, kept: Kept, tmp_path: Path, programs: FakePrograms
) -> None:
    handle = recorded.ask("guest-file-open", path=str(tmp_path / "file"), mode="w")
    recorded.ask("guest-file-write", handle=handle["return"], buf_b64=encoded(b"hello"), count=3)
    recorded.ask("guest-set-user-password", username="ann", password=encoded(b"hello"), crypted=False)
    recorded.ask("guest-ssh-add-authorized-keys", username="nobody-here", keys=["one", "two"])
    shown = [record["arguments"] for record in kept.records]
    assert shown == [
        {"path": str(tmp_path / "file"), "mode": "w"},
        {"handle": 1000, "buf-b64": {"bytes": 5, "hash": recorded.audit._hash(b"hello")}, "count": 3},
        {"username": "ann", "password": {"bytes": 5}, "crypted": False},
        {"username": "nobody-here", "keys": {"bytes": 8, "hash": recorded.audit._hash(b"one\0two\0")}},
    ]
    assert len(shown[1]["buf-b64"]["hash"]) == 32


def test_long_values_are_cut(recorded: Recorded, kept: Kept) -> None:
    recorded.ask("guest-file-open", path="x" * 10_000)
    recorded.ask("guest-fsfreeze-freeze-list", mountpoints=["/mnt"] * 1000)
    path = kept.records[0]["arguments"]["path"]
    assert path == "x" * 256 + "... (10000 characters)"
    points = kept.records[1]["arguments"]["mountpoints"]
    assert points == ["/mnt"] * 32 + ["... (1000 elements)"]
    assert len(json.dumps(kept.records[0])) < 5000  # the error has the path once more


def test_numbers_in_a_result_are_recorded_and_its_strings_are_not(
    recorded: Recorded, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qga.agent.commands.file.handles.read", lambda descriptor, count: (b"the guest's own", True))
    monkeypatch.setattr(recorded.ctx.files, "descriptor", lambda handle: 0)
    reply = recorded.ask("guest-file-read", handle=1)
    (record,) = kept.records
    assert record["result"] == {"count": 15, "eof": True}
    assert record["out"] == len(json.dumps(reply, separators=(",", ":"))) + 1


def test_a_reply_refused_by_max_reply_is_recorded_with_the_size_of_the_refusal(host: Host, kept: Kept) -> None:
    recorded = Recorded(host, kept)
    recorded.ctx.config = recorded.ctx.config._replace(max_reply=200)
    line = recorded.dispatcher.handle({"execute": "guest-info"})
    assert isinstance(line, bytes)
    assert b"max-reply" in line
    assert kept.records[0]["out"] == len(line)


def test_a_shutdown_that_ends_the_agent_is_recorded(recorded: Recorded, kept: Kept) -> None:
    never: Pending[Any] = Pending()
    recorded.dispatcher._admission._bound["guest-shutdown"].handler = lambda ctx, mode: never
    recorded.dispatcher.handle({"execute": "guest-shutdown", "arguments": {"mode": "reboot"}})
    assert kept.records == []
    recorded.audit.close()
    (record,) = kept.records
    assert (record["command"], record["arguments"]) == ("guest-shutdown", {"mode": "reboot"})
    assert record["error"] == "the agent ended before this was over"


def test_records_made_while_frozen_are_written_at_the_thaw(host: Host, kept: Kept) -> None:
    recorded = Recorded(host, kept)
    freeze = FreezeState()
    freeze.subscribe(recorded.audit.on_freeze)
    freeze.freeze()
    for _ in range(3):
        recorded.ask("guest-ping")
    assert kept.records == []
    freeze.thaw()
    assert [record["seq"] for record in kept.records] == [1, 2, 3]
    recorded.ask("guest-ping")
    assert [record["seq"] for record in kept.records] == [1, 2, 3, 4]


def test_waiting_records_are_bounded_and_the_loss_is_recorded(host: Host, kept: Kept) -> None:
    recorded = Recorded(host, kept)
    recorded.audit.on_freeze(True)
    for _ in range(backlog.MAX_HELD + 3):
        recorded.ask("guest-ping")
    recorded.audit.on_freeze(False)
    *first, last = kept.records
    assert [record["seq"] for record in first] == list(range(1, backlog.MAX_HELD + 1))
    assert (last["event"], last["count"], last["seq"]) == ("lost", 3, backlog.MAX_HELD + 4)
    assert last["commands"] == {"guest-ping": 3}


def test_a_failing_log_is_reported_once_and_only_safe_commands_stay_allowed(
    recorded: Recorded, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.error = OSError(errno.ENOSPC, "No space left on device")
    recorded.audit.start()
    disabled = "Command guest-get-time has been disabled: the command is not allowed"
    for _ in range(3):
        assert recorded.ask("guest-get-time")["error"] == {"class": "CommandNotFound", "desc": disabled}
        assert recorded.ask("guest-ping") == {"return": {}}
    info = recorded.ask("guest-info")["return"]["supported_commands"]
    assert {c["name"] for c in info if c["enabled"]} == set(SCHEMA.allowed_while_frozen)
    assert caplog.messages == ["the audit log kept cannot be written: No space left on device"]
    kept.error = None
    assert recorded.ask("guest-ping") == {"return": {}}
    assert "return" in recorded.ask("guest-get-time")
    assert caplog.messages[1:] == ["the audit log kept can be written again"]
    assert kept.events() == [
        "start",
        *["guest-get-time", "guest-ping"] * 3,
        "guest-info",
        "guest-ping",
        "guest-get-time",
    ]
    assert [r["seq"] for r in kept.records] == list(range(1, 11))
    assert kept.records[1]["rule"] == "audit-required"


def test_without_audit_required_a_failing_log_blocks_no_command(host: Host, kept: Kept) -> None:
    recorded = Recorded(host, kept)
    recorded.audit = Audit(still_loop(), kept, "test")
    recorded.dispatcher = Dispatcher(recorded.ctx, bind(SCHEMA), recorded.audit)
    kept.error = OSError(errno.EIO, "Input/output error")
    recorded.audit.start()
    assert "return" in recorded.ask("guest-get-time")


def test_the_file_is_private_and_has_one_line_per_record(recorded: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    sink = FileSink(str(path))
    sink.write({"time": 0.25, "event": "one\n"})
    sink.write({"time": 0.25, "event": "b\udc80d"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["one\n", "b�d"]


def test_the_file_follows_a_rotation_once_it_is_reopened(host: Host, tmp_path: Path) -> None:
    """As logrotate(8) does: rename, then tell the agent."""
    path = tmp_path / "audit.log"
    recorded = Recorded(host, FileSink(str(path)))
    write = recorded.audit._recorder.write
    write("one", at(1, "one"))
    rotated = path.rename(tmp_path / "audit.log.1")
    write("two", at(1, "two"))
    recorded.audit.reopen()
    write("three", at(1, "three"))
    assert events(rotated) == ["one", "two"]
    assert events(path) == ["three"]


def test_a_reopened_log_continues_in_another_file(host: Host, tmp_path: Path) -> None:
    recorded = Recorded(host, FileSink("/dev/full"))
    recorded.ask("guest-ping")
    recorded.audit.reopen(FileSink(str(tmp_path / "other.log")))
    assert "return" in recorded.ask("guest-get-time")
    seqs = [json.loads(line)["seq"] for line in (tmp_path / "other.log").read_text().splitlines()]
    assert seqs == [1, 2]


def test_a_rotation_while_frozen_touches_no_file_before_the_thaw(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    recorded = Recorded(host, FileSink(str(path)))
    recorded.ask("guest-ping")
    recorded.audit.on_freeze(True)
    path.unlink()
    recorded.audit.reopen()
    recorded.ask("guest-ping")
    assert not path.exists()
    recorded.audit.on_freeze(False)
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [2]


def test_a_file_that_cannot_be_reopened_is_a_failure_until_it_can(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    recorded = Recorded(host, FileSink(str(directory / "audit.log")))
    directory.rename(tmp_path / "gone")
    recorded.audit.reopen()
    assert "error" in recorded.ask("guest-get-time")
    directory.mkdir()
    recorded.ask("guest-ping")
    assert "return" in recorded.ask("guest-get-time")
    assert len((directory / "audit.log").read_text().splitlines()) == 3
    assert caplog.messages[0].endswith("audit.log cannot be written: No such file or directory")


def test_a_full_disk(host: Host) -> None:
    """/dev/full answers every write(2) with ENOSPC."""
    recorded = Recorded(host, FileSink("/dev/full"))
    recorded.audit.start()
    assert "error" in recorded.ask("guest-get-time")
    assert "return" in recorded.ask("guest-ping")


def test_a_partial_line_is_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.log"
    sink, real = FileSink(str(path)), os.write
    sink.write({"time": 0.25, "event": "zero"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:5]))
        with pytest.raises(OSError, match="No space left"):
            sink.write({"time": 0.25, "event": "one"})
    assert events(path) == ["zero"]
    sink.write({"time": 0.25, "event": "one"})
    assert events(path) == ["zero", "one"]


def test_a_partial_line_that_cannot_be_truncated_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a file with chattr(1)'s attribute a."""
    path = tmp_path / "audit.log"
    sink, real = FileSink(str(path)), os.write

    def refuse(descriptor: int, size: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:5]))
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="No space left"):
            sink.write({"time": 0.25, "event": "one"})
    sink.write({"time": 0.25, "event": "one"})
    sink.write({"time": 0.25, "event": "two"})
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"tim'
    stamp = "1970-01-01T00:00:00.250000Z"
    assert list(map(json.loads, whole)) == [{"time": stamp, "event": "one"}, {"time": stamp, "event": "two"}]


@pytest.mark.parametrize(
    ("left", "expected"), [(b"", b""), (b"x\n", b"x\n"), (b'{"tim', b'{"tim\n'), (b"\0", b"\0\n")]
)
def test_a_partial_line_of_an_earlier_run_is_ended(tmp_path: Path, left: bytes, expected: bytes) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(left)
    sink = FileSink(str(path))
    sink.write({"time": 0.25, "event": "one"})
    sink.write({"time": 0.25, "event": "two"})
    assert path.read_bytes().startswith(expected + b'{"time":')
    assert path.read_bytes().count(b"\n") == expected.count(b"\n") + 2


def events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def at(seconds: int, event: str) -> dict[str, object]:
    return {"time": float(seconds), "event": event}


def renamed(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.with_suffix(".new").touch()
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize(("change", "gone"), [(renamed, 0), (removed, 2), (replaced, 2)])
def test_a_file_that_was_moved_away_is_noticed_within_a_second(
    tmp_path: Path, change: Callable[[Path], None], gone: int
) -> None:
    path = tmp_path / "audit.log"
    sink = FileSink(str(path))
    sink.write(at(1, "one"))
    sink.write(at(2, "two"))
    change(path)
    sink.write(at(2, "three"))  # the bound: within this second nothing is checked
    with pytest.raises(sinks.Moved) as moved:
        sink.write(at(3, "four"))
    assert moved.value.gone == gone
    sink.write(at(3, "four"))
    assert events(path) == ["four"]
    if change is renamed:
        assert events(path.with_suffix(".1")) == ["one", "two", "three"]


def test_records_lost_with_a_removed_file_are_counted(
    recorded: Recorded, host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.log"
    recorded = Recorded(host, FileSink(str(path)))
    write = recorded.audit._recorder.write
    write("one", at(1, "one"))
    path.unlink()
    write("two", at(1, "two"))
    write("three", at(2, "three"))
    write("four", at(2, "four"))
    assert events(path) == ["three", "lost", "four"]
    lost = json.loads(path.read_text().splitlines()[1])
    assert (lost["count"], lost["commands"]) == (2, {"written to the file that was removed": 2})
    assert caplog.messages == [f"the audit log {path}: it was removed, renamed or replaced, a new one is begun"]


def test_a_symbolic_link_in_place_of_the_file_is_not_followed(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, victim = tmp_path / "audit.log", tmp_path / "victim"
    victim.write_text("as it was")
    recorded = Recorded(host, FileSink(str(path)))
    write = recorded.audit._recorder.write
    write("one", at(1, "one"))
    renamed(path)
    path.symlink_to(victim)
    write("two", at(2, "two"))
    assert "error" in recorded.ask("guest-get-time")  # audit-required
    assert recorded.ask("guest-ping") == {"return": {}}
    recorded.audit.reopen()  # nor then
    assert "error" in recorded.ask("guest-get-time")
    path.unlink()
    assert recorded.ask("guest-ping") == {"return": {}}
    assert "return" in recorded.ask("guest-get-time")
    assert victim.read_text() == "as it was"
    assert len(events(path)) == 6
    assert f"the audit log {path} cannot be written: it is a symbolic link, which is not followed" in caplog.messages


def test_a_fifo_in_place_of_the_file_gets_nothing(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    recorded = Recorded(host, FileSink(str(path)))
    recorded.audit._recorder.write("one", at(1, "one"))
    path.unlink()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    recorded.audit._recorder.write("two", at(2, "two"))
    assert "error" in recorded.ask("guest-get-time")
    assert os.read(reader, 100) == b""  # the end: the sink has closed it again
    os.close(reader)


def test_a_configured_path_that_is_a_symbolic_link_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "audit.log")
    with pytest.raises(OSError, match="symbolic link"):
        FileSink(str(tmp_path / "link")).open()
    assert not (tmp_path / "audit.log").exists()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.setblocking(False)
        yield receiver


@pytest.fixture
def in_journal(host: Host, tmp_path: Path) -> Iterator[Recorded]:
    recorded = Recorded(host, JournalSink(str(tmp_path / "journal")))
    yield recorded
    recorded.audit.close()


def fields(datagram: bytes) -> dict[str, bytes]:
    """Parse a datagram as journald does: NAME=value, or NAME, a 64-bit length and the value."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, separator, value = line.partition(b"=")
        if separator:
            datagram = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, datagram = rest[8 : 8 + size], rest[9 + size :]
        found[name.decode()] = value
    return found


def test_the_journal_gets_fields(in_journal: Recorded, journal: socket.socket) -> None:
    recorded = in_journal
    recorded.ask("guest-file-open", 77, path="/a\nb=c")
    told = fields(journal.recv(100_000))
    assert told["QGA_COMMAND"] == b"guest-file-open"
    assert json.loads(told["QGA_ARGUMENTS"]) == {"path": "/a\nb=c"}
    assert told["QGA_IN"] == b"77"
    assert told["SYSLOG_IDENTIFIER"] == b"qemu-ga"
    assert told["MESSAGE"].startswith(b"audit: guest-file-open: failed to open")
    assert b"\n" in told["QGA_ERROR"]  # in its binary form: no request can forge a field


def test_a_journal_that_does_not_read_blocks_nothing_and_gets_every_record_later(
    in_journal: Recorded, journal: socket.socket
) -> None:
    recorded = in_journal
    for _ in range(900):  # more than a socket takes: a sender that blocks would hang here
        recorded.ask("guest-ping")
    seen = []
    for _ in range(900):
        while True:
            try:
                seen.append(int(fields(journal.recv(100_000))["QGA_SEQ"]))
            except BlockingIOError:
                break
        if len(seen) >= 900:
            break
        recorded.audit._recorder._flush()
    assert seen == list(range(1, 901))


def test_a_restarted_journal_gets_the_next_records(
    in_journal: Recorded, tmp_path: Path, journal: socket.socket
) -> None:
    path = tmp_path / "journal"
    recorded = in_journal
    recorded.ask("guest-ping")
    journal.close()
    path.unlink()
    recorded.ask("guest-ping")  # journald is not running
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(path))
        second.setblocking(False)
        recorded.ask("guest-ping")
        assert [int(fields(second.recv(9999))["QGA_SEQ"]) for _ in range(2)] == [2, 3]


@pytest.mark.parametrize(
    ("setting", "environ", "expected"),
    [
        (None, {}, "off"),
        (None, {"SYSTEMD_EXEC_PID": "1"}, "off"),
        (None, {"SYSTEMD_EXEC_PID": str(os.getpid())}, "journal"),
        ("off", {"SYSTEMD_EXEC_PID": str(os.getpid())}, "off"),
        ("/x", {}, "/x"),
    ],
)
def test_where_the_audit_log_goes_by_default(
    setting: str | None, environ: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journal").touch()
    monkeypatch.setattr(sinks, "JOURNAL", str(tmp_path / "journal"))
    assert sinks.destination(setting, environ) == expected


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., RunningAgent]:
    path = str(tmp_path / "agent.sock")
    return lambda *options: RunningAgent(tmp_path, "-m", "unix-listen", "-p", path, *options)


def ask(peer: Lines, name: str, **arguments: object) -> Any:
    peer.send(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
    return json.loads(peer.read_line(SOON))


@pytest.mark.forks
def test_an_agent_records_a_program_and_its_end(tmp_path: Path, start: Callable[..., RunningAgent]) -> None:
    path = tmp_path / "audit.log"
    with start("--audit-log", str(path)) as agent, Lines.connect(tmp_path / "agent.sock") as peer:
        pids = [ask(peer, "guest-exec", path="/bin/sh", arg=["-c", "exit 3"])["return"]["pid"]]
        pids.append(ask(peer, "guest-exec", path="/bin/sh", arg=["-c", "kill -TERM $$"])["return"]["pid"])
        for pid in pids:
            while not ask(peer, "guest-exec-status", pid=pid)["return"]["exited"]:
                pass
        assert agent.terminate() == 0
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records[0]["event"] == "start"
    started = {r["pid"]: r["seq"] for r in records if r.get("command") == "guest-exec" and r["event"] == "command"}
    ended = {r["pid"]: r for r in records if r["event"] == "exit"}
    assert list(started) == pids
    assert [ended[pid]["of"] for pid in pids] == list(started.values())
    assert ended[pids[0]]["exitcode"] == 3
    assert ended[pids[1]]["signal"] == 15
    assert {r["peer"]["uid"] for r in records if "peer" in r} == {os.getuid()}
    assert sorted(r["seq"] for r in records) == list(range(1, len(records) + 1))


@pytest.mark.forks
def test_an_agent_without_its_required_audit_log_carries_out_safe_commands_only(
    tmp_path: Path, start: Callable[..., RunningAgent]
) -> None:
    path = tmp_path / "missing" / "audit.log"
    options = ("--audit-log", str(path), "--audit-required")
    with start(*options) as agent, Lines.connect(tmp_path / "agent.sock") as peer:
        assert ask(peer, "guest-exec", path="/bin/true")["error"]["class"] == "CommandNotFound"
        assert ask(peer, "guest-sync", id=3) == {"return": 3}
        path.parent.mkdir()
        assert ask(peer, "guest-ping") == {"return": {}}
        assert "return" in ask(peer, "guest-exec", path="/bin/true")
        told = agent.log.read_text()
    assert told.count("cannot be written") == 1
    assert len(path.read_text().splitlines()) >= 5


@pytest.mark.forks
def test_audit_required_without_an_audit_log_stops_the_start(
    tmp_path: Path, start: Callable[..., RunningAgent]
) -> None:
    agent = start("--audit-required")
    assert agent.process.wait(SOON) == 1
    agent.stop()
    assert "audit-required" in agent.log.read_text()
