"""The audit log: a record of every command, and of the end of every program that one has started.

The rule it keeps: it never holds the agent up, and tells of what it could not write. What cannot be written now, as
filesystems are frozen or a disk is full, is kept in memory until it can: MAX_HELD records, and then their number. The
first are kept, so that a host cannot push out the record of what it did by pings.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping

from qga import __version__, redaction
from qga.errors import CommandNotFound
from qga.loop import Loop
from qga.schema import Command
from qga.sinks import Sink

log = logging.getLogger(__name__)

MAX_HELD = 1000  # records of some hundred bytes, rarely some thousand
RETRY = 1.0  # seconds until what the journal had no room for is written


_NOTHING: Mapping[str, object] = {}


class Entry:
    """A command that is being carried out. The dispatcher tells what it learns of it."""

    __slots__ = ("arguments", "begun", "command", "peer", "rule", "seq", "size", "started")

    def __init__(self, seq: int, size: int, peer: object) -> None:
        self.seq, self.size, self.peer = seq, size, peer
        self.started, self.begun = time.time(), time.perf_counter()
        self.command: Command | None = None
        self.arguments: Mapping[str, object] | None = None  # once they are valid
        self.rule: str | None = None


class Audit:
    """``peer`` is who is at the other end, where the channel can tell."""

    def __init__(self, sink: Sink, channel: str, on_failure: Callable[[bool], None] = lambda failing: None) -> None:
        """``channel`` goes into every record; ``on_failure`` is told that the log cannot be written, or can again."""
        self.peer: object = None
        self._sink = sink
        self._channel = channel
        self._on_failure = on_failure
        self._loop: Loop | None = None
        self._retrying = False
        self._seq = 0
        self._entries: dict[int, Entry] = {}  # of commands that are not over
        self._programs: dict[int, tuple[int, float]] = {}  # by pid: their seq, and when they began
        self._held: deque[dict[str, object]] = deque()
        self._lost = 0
        self._frozen = False
        self._failing = False

    def attach(self, loop: Loop) -> None:
        """From now on what the journal had no room for is written soon; without a loop, with the next record."""
        self._loop = loop

    def start(self) -> None:
        """The first record. If it cannot be written, that is reported now and not with the first command."""
        self._write(self._event("start", time.time(), agent=os.getpid(), version=__version__))

    def close(self) -> None:
        """The agent ends. Commands that are not over have a record too: a shutdown is one."""
        for entry in [*self._entries.values()]:
            if entry.command is not None:
                outcome = {"error": "the agent ended before this was over"}
                self._tell(entry, entry.command.name, "allowed", outcome)
        if not self._frozen:
            self._flush()
            self._sink.close()

    def reopen(self, sink: Sink | None = None) -> None:
        """After the file was rotated, or the owner has named another."""
        self._sink.close()
        self._sink = sink or self._sink
        if not self._frozen:
            try:
                self._sink.open()
            except OSError as error:
                self._fail(error)
            self._flush()

    def on_freeze(self, frozen: bool) -> None:
        """For FreezeState to call."""
        self._frozen = frozen
        if not frozen:
            self._flush()

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
        if error is None:
            outcome = _NOTHING if result is None else self._result(entry, result)
            self._tell(entry, name, "allowed", outcome, sent)
            return
        refused = isinstance(error, CommandNotFound)
        if isinstance(error, CommandNotFound):
            entry.rule = error.rule
        decision = "invalid" if command is None else "refused" if refused else "allowed"
        self._tell(entry, name, decision, {"error": redaction.words(error, message, command)}, sent)

    def revoked(self, command: str, rule: str, **what: int) -> None:
        """A reload forbids what was allowed before: ``what`` is the handle that is closed or the program's pid."""
        record = self._event("revoked", time.time(), channel=self._channel, command=command)
        self._write({**record, **what, "decision": "revoked", "rule": rule})

    def program_ended(self, pid: int, code: int) -> None:
        """A program of guest-exec, with an exit status or minus the signal that killed it."""
        seq, begun = self._programs.pop(pid, (None, 0.0))
        if seq is not None:
            seconds = time.perf_counter() - begun
            record = self._event("exit", time.time(), channel=self._channel, command="guest-exec", of=seq)
            ended = {"exitcode": code} if code >= 0 else {"signal": -code}
            self._write({**record, "pid": pid, **ended, "seconds": seconds})

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
        if entry.arguments and entry.command is not None:
            record["arguments"] = redaction.shown(entry.command, entry.arguments)
        record["decision"] = decision
        if entry.rule is not None:
            record["rule"] = entry.rule
        record["seconds"] = time.perf_counter() - entry.begun
        record["in"] = entry.size
        if outcome:
            record.update(outcome)
        if sent is not None:
            record["out"] = sent
        self._write(record)

    def _event(self, event: str, at: float, **members: object) -> dict[str, object]:
        self._seq += 1
        return {"time": at, "event": event, "seq": self._seq, **members}

    def _write(self, record: dict[str, object]) -> None:
        waiting = self._frozen or bool(self._held)
        if not waiting and self._written(record):
            return
        if len(self._held) < MAX_HELD:
            self._held.append(record)
        else:
            self._lost += 1
        if waiting and not self._frozen:
            self._flush()

    def _flush(self) -> None:
        """Write what is held, the oldest first."""
        while self._held and self._written(self._held[0]):
            self._held.popleft()
        if self._lost and not self._held:
            self._held.append(self._event("lost", time.time(), count=self._lost))
            self._lost = 0
            self._flush()

    def _written(self, record: Mapping[str, object]) -> bool:
        try:
            self._sink.write(record)
        except BlockingIOError as error:
            if self._lost:
                self._fail(error)
            self._retry()
            return False
        except OSError as error:
            self._fail(error)
            return False
        if self._failing:
            self._failing = False
            log.warning("the audit log %s can be written again", self._sink.name)
            self._on_failure(False)
        return True

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.error("the audit log %s cannot be written: %s", self._sink.name, error.strerror)
            self._on_failure(True)

    def _retry(self) -> None:
        if self._loop is not None and not self._retrying:
            self._retrying = True
            self._loop.call_later(RETRY, self._on_retry)

    def _on_retry(self) -> None:
        self._retrying = False
        if not self._frozen:
            self._flush()
