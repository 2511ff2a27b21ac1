"""Secrets planted in every kind of request to every command appear in no log."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from qga.agent.audit import Audit
from qga.agent.audit.filesink import FileSink
from qga.agent.audit.journal import JournalSink
from qga.agent.audit.sinks import Record
from qga.agent.binding import bind
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host, Outcome
from qga.agent.policy import Policy
from qga.agent.service import log
from qga.agent.session import Session
from qga.protocol import schema
from qga.protocol.schema import Command
from tests.conftest import without_becoming_the_user
from tests.contexts import context, still_loop
from tests.lines import Lines
from tests.running import RunningAgent

SCHEMA = schema.load()
SECRET = "Correct-Horse-7"
PLANTED = base64.b64encode(SECRET.encode()).decode()
# As it is, in base64 at each of the three places it may have there, and as it is quoted.
FORMS = [SECRET, *(base64.b64encode(b"#" * n + SECRET.encode())[4:-4].decode() for n in range(3)), SECRET[:-2]]

CHANGING = [
    *("guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid", "guest-set-time"),
    *("guest-set-vcpus", "guest-set-memory-blocks", "guest-set-user-password", "guest-fstrim"),
    *("guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw"),
]
HARMLESS: dict[str, object] = {
    "id": 1,
    "handle": 1000,
    "count": 1,
    "offset": 0,
    "whence": 0,
    "pid": 1,
    "crypted": True,
}
WORDS = {"path": "/nonexistent/x", "mode": "r", "username": "nobody-here", "mountpoints": ["/nonexistent"]}


def values(command: Command, name: str) -> list[object]:
    """Return valid and invalid values for an argument that no log may show."""
    if command.arguments["properties"][name]["type"] == "array":
        return [[SECRET], [f"{SECRET}={SECRET}"], [f"#{SECRET}"], [f"ssh-rsa {SECRET}\nx"], ["x", [SECRET]], SECRET]
    line = base64.b64encode(f"{SECRET}\n{SECRET}".encode()).decode()
    return [PLANTED, line, f"{SECRET}!", SECRET, [SECRET], {SECRET: SECRET}, 7]


def valid(command: Command) -> dict[str, object]:
    given = HARMLESS | WORDS | {"vcpus": [], "mem-blks": [], "buf-b64": "", "password": "", "keys": [], "time": 0}
    return {name: given[name] for name in command.members if name in given}


def requests(command: Command) -> Iterator[bytes]:
    good = valid(command)
    hidden = sorted(command.secret | command.payload)
    chosen = [good, *({**good, name: value} for name in hidden for value in values(command, name))]
    chosen += [{name: SECRET} for name in hidden]  # the others are missing
    chosen += [{**good, SECRET: 1}, {**good, "x": SECRET}, {**good, "x": {SECRET: [SECRET]}}]
    for name in command.members:
        if name not in WORDS:
            chosen.append({**good, name: SECRET})
        chosen += [{**good, name: {"password": SECRET}}, {**good, name: [SECRET, [SECRET]]}]
    for arguments in chosen:
        yield json.dumps({"execute": command.name, "arguments": arguments}).encode()
    whole = json.dumps({"execute": command.name, "arguments": {**good, **dict.fromkeys(hidden, PLANTED)}})
    head = whole[:-1]
    yield f'{head}, "id": "{SECRET}"}}'.encode()
    yield f'{head}, "id": {{"{SECRET}": ["{SECRET}"]}}}}'.encode()
    yield f'{head}, "{SECRET}": 1}}'.encode()
    yield f'{head}, "control": "{SECRET}"}}'.encode()
    yield f'{head}, "exec-oob": "{SECRET}"}}'.encode()
    yield f'{{"execute": "{command.name}", "arguments": "{SECRET}"}}'.encode()
    yield json.dumps(
        {"execute": "guest-nope", "arguments": {SECRET: SECRET, **dict.fromkeys(hidden, PLANTED)}}
    ).encode()
    yield f'{{"execute": "{command.name}", "arguments": {{"x": {SECRET}}}}}'.encode()
    yield f'{{"execute": "{command.name}", "arguments": {{"{SECRET}\\q": 1}}}}'.encode()
    yield f'"{SECRET}"'.encode()
    yield b'{"password": "' + SECRET.encode()
    yield f'{{"execute": "{command.name}", "arguments": {{"password": {SECRET}}}}}'.encode()
    yield f"{head}, 'x': '{SECRET}' {SECRET}}}".encode()
    yield f'{{"execute": "{command.name} {SECRET}"}}'.encode()
    yield f'{{"execute": ["{SECRET}"]}}'.encode()
    yield f'["{SECRET}"]'.encode()
    yield whole.replace(PLANTED, "Q\\u0101" + PLANTED).encode()


def assert_nowhere(written: dict[str, bytes]) -> None:
    found = {(where, form) for where, text in written.items() for form in FORMS if form.encode() in text}
    assert not found


class Both:
    """Two sinks that act as one."""

    name = "both"

    def hurry(self) -> None:
        pass

    def __init__(self, *sinks: FileSink | JournalSink) -> None:
        self._sinks = sinks

    def open(self) -> None:
        for sink in self._sinks:
            sink.open()

    def write(self, record: Record) -> None:
        for sink in self._sinks:
            sink.write(record)

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


def quote(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 0) -> Outcome:
    """A helper that fails and quotes its arguments and input."""
    return Outcome(status=1, output=b"cannot do " + " ".join(argv).encode() + b" with: " + stdin)


def test_no_secret_is_in_a_log_of_an_agent_whose_guest_is_a_directory_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command is carried out in this process, and helpers quote what they get."""
    monkeypatch.setattr(Host, "set_clock", lambda host, nanoseconds: None)
    (tmp_path / "guest").mkdir()
    guest = Host(run=quote, which=lambda name: None, root=str(tmp_path / "guest"), run_as=without_becoming_the_user)
    lines = log.setup(logfile=str(tmp_path / "log"), debug=True, syslog=str(tmp_path / "dev-log"))
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog,
    ):
        journal.bind(str(tmp_path / "journal"))
        syslog.bind(str(tmp_path / "dev-log"))
        written: dict[str, list[bytes]] = {"journal": [], "syslog": []}
        audit = Audit(
            still_loop(), Both(FileSink(str(tmp_path / "audit")), JournalSink(str(tmp_path / "journal"))), "test"
        )
        session = Session(Dispatcher(context(guest, SCHEMA, Policy()), bind(SCHEMA), audit))
        try:
            for command in SCHEMA.commands.values():
                for request in requests(command):
                    session.receive(request + b"\n")
                    while session.next_reply() is not None:
                        pass
                    session.receive(b"\xff")  # ends a partial request
                    while session.next_reply() is not None:
                        pass
                    written["journal"] += received(journal)
                    written["syslog"] += received(syslog)
        finally:
            audit.close()
            lines.close()
    all_of_it = {name: b"\n".join(datagrams) for name, datagrams in written.items()}
    all_of_it |= {name: (tmp_path / name).read_bytes() for name in ("audit", "log")}
    assert_nowhere(all_of_it)
    records = [json.loads(line) for line in all_of_it["audit"].splitlines()]
    for decision in ("allowed", "invalid"):
        assert {r["command"] for r in records if r.get("decision") == decision} >= SCHEMA.commands.keys()
    malformed = [r for r in records if r["event"] == "malformed"]
    assert len(malformed) >= 3 * len(SCHEMA.commands)
    assert all(r["in"] > 0 and len(r["hash"]) == 32 for r in malformed)
    assert len(written["journal"]) == len(records)
    assert b"chpasswd" in all_of_it["audit"]  # the helper's words are there, but for what it quoted
    assert b"guest-set-user-password called" in all_of_it["syslog"]
    assert b"guest-set-user-password called" in all_of_it["log"]


def received(receiver: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield receiver.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return


@pytest.mark.forks
def test_no_secret_is_in_a_log_of_a_running_agent(tmp_path: Path) -> None:
    """With --debug and real programs; commands that would change this machine are blocked by the configuration."""
    path, agent_socket = tmp_path / "audit", tmp_path / "agent.sock"
    options = ["-m", "unix-listen", "-p", str(agent_socket), "--debug", "--audit-log", str(path)]
    options += ["-l", str(tmp_path / "log"), "-b", ",".join(CHANGING)]
    with RunningAgent(tmp_path, *options) as agent, Lines.connect(agent_socket) as peer:
        for command in SCHEMA.commands.values():
            if not command.success_response:
                continue
            for request in requests(command):
                peer.send(request + b"\xff")
            mark = json.dumps({"execute": "guest-sync-delimited", "arguments": {"id": 1}}).encode()
            peer.send(mark + b"\n")
            peer.read_until(b'\xff{"return":1}\n', 60) if command.name != "guest-sync-delimited" else settle(peer)
        execs(peer, lambda **arguments: {"execute": "guest-exec", "arguments": arguments})
        settle(peer)
        assert agent.terminate() == 0
        written = {file.name: file.read_bytes() for file in (path, tmp_path / "log", agent.log)}
    assert_nowhere(written)
    records = [json.loads(line) for line in written["audit"].splitlines()]
    refused = {r["command"]: r for r in records if r.get("decision") == "refused"}
    silent = {f"guest-{kind}" for kind in ("shutdown", "suspend-ram", "suspend-disk", "suspend-hybrid")}
    assert refused.keys() >= set(CHANGING) - silent
    assert refused["guest-set-user-password"]["arguments"]["username"] == WORDS["username"]
    assert sum(r["event"] == "exit" for r in records) == 2
    assert b"guest-exec called" in written["log"]


def settle(peer: Lines) -> None:
    peer.send(b'\xff{"execute":"guest-sync","arguments":{"id":4711}}\n')
    peer.read_until(b'{"return":4711}\n', 60)


def execs(peer: Lines, request: Callable[..., Any]) -> None:
    """Programs that start, with secrets in everything they are given, and one that does not start."""
    secret = {"env": [f"TOKEN={SECRET}"], "input-data": PLANTED}
    for path in ("/bin/cat", "/bin/echo", f"{os.sep}nonexistent"):
        peer.send(json.dumps(request(path=path, arg=["--", f"-p{SECRET}"], **secret)).encode() + b"\n")
        peer.read_line(60)
    for _ in range(100):
        peer.send(b'{"execute":"guest-ping"}\n')
        peer.read_line(60)
