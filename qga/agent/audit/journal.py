"""The audit log in systemd's journal, a field a member: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.

The rule it keeps: what was sent is in the journal. journald drops what a unit sends faster than its rate limit
allows, and the sender does not learn of it; so that limit is kept here, and what it leaves no room for raises Later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from qga.agent.audit.sinks import JOURNAL, Later, Record
from qga.agent.linux.numbers import number
from qga.protocol.wire import encode

_CUT = 256  # characters of an error, where a datagram has no room for more
_UNITS = "/run/systemd/units"  # where systemd leaves what journald is to know of a unit, each as a link's target
_KINDS_OF_UNIT = (".service", ".scope", ".socket", ".mount", ".swap")


class RateLimit(NamedTuple):
    """At most ``burst`` messages in ``interval`` seconds: LogRateLimitBurst and -IntervalSec of systemd.exec(5).

    The default is journald's, RateLimitBurst in journald.conf(5). Note that a unit's LogRateLimitIntervalSec=0 does
    not lift it: systemd takes that for a unit that says nothing, https://github.com/systemd/systemd/issues/22034.
    """

    burst: int = 10_000
    interval: float = 30.0


class Pace:
    """Lets through what stays within a rate limit, whenever journald began to count.

    A bucket of tokens: 6/10 of the burst at once, and 3/10 of it in each interval. The last tenth is for what waits
    when the agent ends, and for its log lines.
    """

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._most = max(1.0, limit.burst * 0.6)
        self._rate = max(1e-3, limit.burst * 0.3 / limit.interval)  # tokens a second
        self._tokens, self._at = self._most, clock()

    def take(self) -> float:
        """0 if one may be sent now, or else seconds until a second's worth may be."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return max(1.0, (1 - self._tokens) / self._rate)
        self._tokens -= 1
        return 0.0

    def hurry(self) -> None:
        """The last tenth."""
        self._most += self.limit.burst * 0.1
        self._tokens += self.limit.burst * 0.1


class JournalSink:
    """Sends each record as a datagram. journald takes them in its own time, some hundred may wait."""

    def __init__(self, path: str = JOURNAL, find_limit: Callable[[], RateLimit] | None = None) -> None:
        self.name = "journal"
        self._path = path
        self._find_limit = find_limit or rate_limit
        self._pace: Pace | None = None
        self._socket: socket.socket | None = None

    def fileno(self) -> int | None:
        return None if self._socket is None else self._socket.fileno()

    def open(self) -> None:
        self.close()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        limit = self._find_limit()
        if self._pace is None or self._pace.limit != limit:
            self._pace = Pace(limit)

    def write(self, record: Record) -> None:
        if self._socket is None:
            self.open()
        assert self._pace is not None
        if seconds := self._pace.take():
            raise Later(seconds)
        data = _datagram(record)
        try:
            self._send(data)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._send(_datagram(_shortened(record)))

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.send(data)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise
            self.open()  # the journal was started anew
            self._socket.send(data)

    def hurry(self) -> None:
        if self._pace is not None:
            self._pace.hurry()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def rate_limit(units: str = _UNITS, cgroup: str = "/proc/self/cgroup") -> RateLimit:
    """What holds for the unit that this process is of: its own, or else journald's default."""
    unit = _unit(cgroup)
    limit = RateLimit()
    if unit is None:
        return limit
    with contextlib.suppress(OSError, ValueError):
        limit = limit._replace(burst=number(os.readlink(f"{units}/log-rate-limit-burst:{unit}")))
    with contextlib.suppress(OSError, ValueError):
        microseconds = number(os.readlink(f"{units}/log-rate-limit-interval:{unit}"))
        limit = limit._replace(interval=max(microseconds, 1) / 1e6)
    return limit


def _unit(cgroup: str) -> str | None:
    """As journald finds it: the first part of the control group's path that is not a slice; cgroups(7)."""
    try:
        with open(cgroup) as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd"):
            for part in path.split("/"):
                if part.endswith(_KINDS_OF_UNIT):
                    return part
    return None


def _shortened(record: Record) -> Record:
    """Where a datagram is bounded more than it ever is by default: net.core.wmem_default."""
    short = {name: value for name, value in record.items() if name != "arguments"}
    if "error" in short:
        short["error"] = str(short["error"])[:_CUT]
    return {**short, "cut": 1}


def _datagram(record: Record) -> bytes:
    """The journal has the time itself. It shows MESSAGE, and finds by QGA_COMMAND and its like."""
    told = record.get("error") or record.get("decision") or record["event"]
    texts = [_field("MESSAGE", f"audit: {record.get('command') or record['event']}: {told}")]
    for name, value in record.items():
        kind = type(value)
        if kind is str:
            texts.append(_field(_FIELDS[name], value))  # type: ignore[arg-type]
        elif kind is int:
            texts.append(f"{_FIELDS[name]}={value}\n")
        elif kind is not float:
            texts.append(_field(_FIELDS[name], encode(value).decode()[:-1]))
        elif name != "time":
            texts.append(f"{_FIELDS[name]}={value:.6f}\n")
    texts.append("PRIORITY=6\nSYSLOG_IDENTIFIER=qemu-ga\n")
    return "".join(texts).encode(errors="surrogateescape")


class _Fields(dict[str, str]):
    """What a member of a record is called in the journal."""

    def __missing__(self, name: str) -> str:
        return self.setdefault(name, f"QGA_{name.upper()}")


_FIELDS = _Fields()


def _field(name: str, text: str) -> str:
    """As a line, or in the form for binary data: or a request could forge a field."""
    if text.isprintable():
        return f"{name}={text}\n"
    data = text.encode(errors="backslashreplace")
    size = len(data).to_bytes(8, "little")
    return (name.encode() + b"\n" + size + data + b"\n").decode(errors="surrogateescape")
