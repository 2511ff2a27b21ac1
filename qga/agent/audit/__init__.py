"""The audit log: a record of every command, of every malformed request, and of the end of every program started.

The rule it keeps: a record has a bounded size and no secret in it, whatever the host sends, and the records of a run
are numbered. recorder.py decides when records are written, and what happens to those that cannot be written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import cast

from qga import __version__
from qga.agent.audit import redaction
from qga.agent.audit.recorder import Recorder
from qga.agent.audit.sinks import Sink
from qga.agent.call import Call, Entry
from qga.agent.loop import Loop
from qga.protocol.errors import CommandNotFound, RequestError
from qga.protocol.schema import Command
from qga.protocol.wire import encode

_INVALID = "invalid"  # the kind of all unknown commands: a host can invent many

_NOTHING: Mapping[str, object] = {}


class NoAudit:
    """The stand-in for ``Audit`` if no audit log is kept: it accepts the same calls and does nothing.

    ``peer`` identifies the other end of the channel, if the channel knows it.
    """

    peer: object = None

    def reopen(self, sink: Sink | None = None) -> None:
        """Take note that log files were rotated, or that ``sink`` replaces the one in use."""

    def on_freeze(self, frozen: bool) -> None:
        """Take note that filesystems were frozen, or thawed."""

    def start(self) -> None:
        """Take note that the agent starts."""

    def note(self, event: str, **members: object) -> None:
        """Take note of an event that is not a command, with its details."""

    def close(self) -> None:
        """Take note that the agent ends."""

    def begin(self, call: Call) -> None:
        """Take note that a call begins."""

    def end(self, call: Call, error: Exception | None) -> None:
        """Take note that a call is over, with its error if it failed."""

    def revoked(self, command: str, rule: str, **what: int) -> None:
        """Take note that a reload forbids what was allowed: a handle (``handle``) or a program (``pid``)."""

    def malformed(self, message: object, size: int) -> None:
        """Take note that ``size`` bytes were not a request."""

    def program_ended(self, pid: int, code: int) -> None:
        """Take note of the end of a program: with an exit status, or minus the signal that killed it."""


class Audit(NoAudit):
    """The audit log: it numbers the records, and a Recorder writes them."""

    def __init__(
        self, loop: Loop, sink: Sink, channel: str, on_failure: Callable[[bool], None] = lambda failing: None
    ) -> None:
        """Keep an audit log in ``sink``.

        ``channel`` goes into every record; ``on_failure`` is called with True when the log can no longer be
        written, and with False when it can again.
        """
        self._channel = channel
        self._recorder = Recorder(loop, sink, self._event, on_failure)
        self._key = os.urandom(32)
        self._seq = 0
        self._calls: dict[int, Call] = {}  # the calls in progress, by number
        self._programs: dict[int, tuple[str, Entry]] = {}  # by pid: the command that started it, and its entry

    def reopen(self, sink: Sink | None = None) -> None:
        """Open the sink again after its file was rotated, or switch to another sink."""
        self._recorder.reopen(sink)

    def on_freeze(self, frozen: bool) -> None:
        """Hold the records while filesystems are frozen; FreezeState calls this."""
        self._recorder.on_freeze(frozen)

    def start(self) -> None:
        """Write the first record, so that a failure of the log is reported now and not with the first command."""
        self.note("start", agent=os.getpid(), version=__version__)

    def note(self, event: str, **members: object) -> None:
        """Write a record of an event that is not a command; ``event`` is one of a few words."""
        self._recorder.write(event, self._event(event, **members))

    def close(self) -> None:
        """Write the records of the commands in progress (a shutdown is one), and close the sink."""
        for call in [*self._calls.values()]:
            if call.command is not None:
                self._write(call, call.command.name, "allowed", {"error": "the agent ended before this was over"})
        self._recorder.close()

    def begin(self, call: Call) -> None:
        """Give a call its number and the time of its beginning."""
        self._seq += 1
        call.entry = Entry(self._seq, self.peer, time.time(), time.perf_counter())
        self._calls[self._seq] = call

    def end(self, call: Call, error: Exception | None) -> None:
        """Write the record of a call that is over, with its error or its result."""
        command = call.command
        name = redaction.name_of(call.message) if command is None else command.name
        sent = 0 if call.reply is None else len(call.reply)
        if error is None:
            outcome = _NOTHING if call.result is None or command is None else self._result(call, command)
            self._write(call, name, "allowed", outcome, sent)
            return
        decision = _INVALID if command is None else "refused" if isinstance(error, CommandNotFound) else "allowed"
        self._write(call, name, decision, {"error": redaction.words(error, call.message, command)}, sent)

    def revoked(self, command: str, rule: str, **what: int) -> None:
        """Write that a reload forbids what was allowed before; ``what`` is the closed handle or the program's pid."""
        self.note("revoked", channel=self._channel, command=command, **what, decision="revoked", rule=rule)

    def malformed(self, message: object, size: int) -> None:
        """Write that ``size`` bytes were not a request: not JSON (a RequestError), or not an object."""
        if isinstance(message, RequestError):
            complaint, content = redaction.unquoted(str(message)), message.head
        else:
            complaint, content = "it is not a JSON object", encode(message)
        record = self._event("malformed", channel=self._channel)
        if self.peer is not None:
            record["peer"] = self.peer
        self._recorder.write("malformed", {**record, "error": complaint, "in": size, "hash": self._hash(content)})

    def program_ended(self, pid: int, code: int) -> None:
        """Write the end of a program that a host started: with an exit status, or minus the signal that killed it."""
        if pid not in self._programs:
            return
        command, entry = self._programs.pop(pid)
        seconds = time.perf_counter() - entry.begun
        ended = {"exitcode": code} if code >= 0 else {"signal": -code}
        self.note("exit", channel=self._channel, command=command, of=entry.seq, pid=pid, **ended, seconds=seconds)

    def _result(self, call: Call, command: Command) -> dict[str, object]:
        """Return the numbers in a result, such as a handle, a count, a pid or an exit status.

        Texts are left out: they are the guest's data.
        """
        result = call.result
        if isinstance(result, int):
            return {"result": result}
        if not isinstance(result, dict):
            return {}
        if command.program is not None:
            self._programs[result["pid"]] = command.name, cast(Entry, call.entry)
            return {"pid": result["pid"]}
        numbers = {name: value for name, value in result.items() if isinstance(value, int)}
        return {"result": numbers} if numbers else {}

    def _write(
        self, call: Call, name: str, decision: str, outcome: Mapping[str, object], sent: int | None = None
    ) -> None:
        entry = cast(Entry, call.entry)
        del self._calls[entry.seq]
        record: dict[str, object] = {
            "time": entry.started,
            "event": "command",
            "seq": entry.seq,
            "channel": self._channel,
            "command": name,
        }
        if entry.peer is not None:
            record["peer"] = entry.peer
        if call.arguments and isinstance(call.arguments, dict):
            record["arguments"] = redaction.shown(call.command, call.arguments, self._hash)
        record["decision"] = decision
        if call.rule is not None:
            record["rule"] = call.rule
        record["seconds"] = time.perf_counter() - entry.begun
        record["in"] = call.size
        if outcome:
            record.update(outcome)
        if sent is not None:
            record["out"] = sent
        self._recorder.write(_INVALID if call.command is None else name, record)

    def _event(self, event: str, **members: object) -> dict[str, object]:
        self._seq += 1
        return {"time": time.time(), "event": event, "seq": self._seq, **members}

    def _hash(self, content: bytes) -> str:
        """Return a keyed hash in hexadecimal digits.

        The key is made for this run and stays secret: without one, short content could be guessed from its hash.
        """
        import hmac  # imported here: it loads OpenSSL, which takes 4 MB

        return hmac.digest(self._key, content, "sha256")[:16].hex()
