"""The audit log: a record of every command, of every malformed request, and of the end of every program started.

The rule it keeps: a record has a bounded size and no secret in it, whatever the host sends, and the records of a run
are numbered. When they are written, and what becomes of them if they cannot be, is decided in recorder.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from qga import __version__
from qga.agent.audit import redaction
from qga.agent.audit.recorder import Recorder
from qga.agent.audit.sinks import Sink
from qga.agent.loop import Loop
from qga.protocol.errors import CommandNotFound, RequestError
from qga.protocol.schema import Command
from qga.protocol.wire import encode

_INVALID = "invalid"  # the kind of all commands that do not exist: a host can think of many

_NOTHING: Mapping[str, object] = {}


class Entry:
    """A command that is being carried out. The dispatcher tells what it learns of it."""

    __slots__ = ("arguments", "begun", "command", "peer", "rule", "seq", "size", "started")

    def __init__(self, seq: int, size: int, peer: object) -> None:
        self.seq, self.size, self.peer = seq, size, peer
        self.started, self.begun = time.time(), time.perf_counter()
        self.command: Command | None = None
        self.arguments: Mapping[str, object] | None = None
        self.rule: str | None = None


class Audit:
    """``peer`` is who is at the other end, where the channel can tell."""

    def __init__(self, sink: Sink, channel: str, on_failure: Callable[[bool], None] = lambda failing: None) -> None:
        """``channel`` goes into every record; ``on_failure`` is told that the log cannot be written, or can again."""
        self.peer: object = None
        self._channel = channel
        self._recorder = Recorder(sink, self._event, on_failure)
        self._key = os.urandom(32)
        self._seq = 0
        self._entries: dict[int, Entry] = {}  # of commands that are not over
        self._programs: dict[int, tuple[int, float]] = {}  # by pid: their seq, and when they began

    def attach(self, loop: Loop) -> None:
        """From now on what could not be written is, as soon as it can be; without a loop, with the next record."""
        self._recorder.attach(loop)

    def reopen(self, sink: Sink | None = None) -> None:
        """After the file was rotated, or the owner has named another."""
        self._recorder.reopen(sink)

    def on_freeze(self, frozen: bool) -> None:
        """For FreezeState to call."""
        self._recorder.on_freeze(frozen)

    def start(self) -> None:
        """The first record. If it cannot be written, that is reported now and not with the first command."""
        self.note("start", agent=os.getpid(), version=__version__)

    def note(self, event: str, **members: object) -> None:
        """A record of what is not a command: ``event`` is one of a few words, ``members`` what there is to say."""
        self._recorder.write(event, self._event(event, **members))

    def close(self) -> None:
        """The agent ends. Commands that are not over have a record too: a shutdown is one."""
        for entry in [*self._entries.values()]:
            if entry.command is not None:
                outcome = {"error": "the agent ended before this was over"}
                self._tell(entry, entry.command.name, "allowed", outcome)
        self._recorder.close()

    def begin(self, size: int) -> Entry:
        """A command has come, in ``size`` bytes."""
        self._seq += 1
        self._entries[self._seq] = entry = Entry(self._seq, size, self.peer)
        return entry

    def end(
        self, entry: Entry, message: Mapping[str, object], error: Exception | None, result: object, sent: int
    ) -> None:
        """It is over, with an error or a result; ``sent`` is the size of the reply in bytes."""
        command = entry.command
        name = redaction.name_of(message) if command is None else command.name
        if entry.arguments is None and isinstance(given := message.get("arguments"), dict):
            entry.arguments = given
        if error is None:
            outcome = _NOTHING if result is None else self._result(entry, result)
            self._tell(entry, name, "allowed", outcome, sent)
            return
        refused = isinstance(error, CommandNotFound)
        if isinstance(error, CommandNotFound):
            entry.rule = error.rule
        decision = _INVALID if command is None else "refused" if refused else "allowed"
        self._tell(entry, name, decision, {"error": redaction.words(error, message, command)}, sent)

    def revoked(self, command: str, rule: str, **what: int) -> None:
        """A reload forbids what was allowed before: ``what`` is the handle that is closed or the program's pid."""
        self.note("revoked", channel=self._channel, command=command, **what, decision="revoked", rule=rule)

    def malformed(self, message: object, size: int) -> None:
        """What has come, in ``size`` bytes, is not a request: no JSON (a RequestError), or not an object."""
        if isinstance(message, RequestError):
            told, content = redaction.unquoted(str(message)), message.head
        else:
            told, content = "it is not a JSON object", encode(message)
        record = self._event("malformed", channel=self._channel)
        if self.peer is not None:
            record["peer"] = self.peer
        self._recorder.write("malformed", {**record, "error": told, "in": size, "hash": self._hash(content)})

    def program_ended(self, pid: int, code: int) -> None:
        """A program of guest-exec, with an exit status or minus the signal that killed it."""
        seq, begun = self._programs.pop(pid, (None, 0.0))
        if seq is not None:
            seconds = time.perf_counter() - begun
            ended = {"exitcode": code} if code >= 0 else {"signal": -code}
            self.note("exit", channel=self._channel, command="guest-exec", of=seq, pid=pid, **ended, seconds=seconds)

    def _result(self, entry: Entry, result: object) -> dict[str, object]:
        """The numbers of a result: a handle, a count, a program's pid, how it ended. Texts are the guest's own."""
        if isinstance(result, int):
            return {"result": result}
        if not isinstance(result, dict):
            return {}
        if entry.command is not None and entry.command.area == "exec" and "pid" in result:
            self._programs[result["pid"]] = entry.seq, entry.begun
            return {"pid": result["pid"]}
        numbers = {name: value for name, value in result.items() if isinstance(value, int)}
        return {"result": numbers} if numbers else {}

    def _tell(
        self, entry: Entry, name: str, decision: str, outcome: Mapping[str, object], sent: int | None = None
    ) -> None:
        del self._entries[entry.seq]
        record: dict[str, object] = {
            "time": entry.started,
            "event": "command",
            "seq": entry.seq,
            "channel": self._channel,
            "command": name,
        }
        if entry.peer is not None:
            record["peer"] = entry.peer
        if entry.arguments:
            record["arguments"] = redaction.shown(entry.command, entry.arguments, self._hash)
        record["decision"] = decision
        if entry.rule is not None:
            record["rule"] = entry.rule
        record["seconds"] = time.perf_counter() - entry.begun
        record["in"] = entry.size
        if outcome:
            record.update(outcome)
        if sent is not None:
            record["out"] = sent
        self._recorder.write(_INVALID if entry.command is None else name, record)

    def _event(self, event: str, **members: object) -> dict[str, object]:
        self._seq += 1
        return {"time": time.time(), "event": event, "seq": self._seq, **members}

    def _hash(self, content: bytes) -> str:
        """By a key of this run, which nobody gets to know: what is short could be guessed from any other hash."""
        import hmac  # here: with OpenSSL it has 4 MB

        return hmac.digest(self._key, content, "sha256")[:16].hex()
