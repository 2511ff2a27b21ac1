"""The audit log in systemd's journal, with a field for each member: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.

The rule it keeps: every record that was sent is in the journal. journald silently drops what a unit sends beyond its
rate limit, so this sink keeps to that limit itself and raises Later for a record that would exceed it.
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
_UNITS = "/run/systemd/units"  # systemd's settings of units for journald: the targets of symbolic links
_KINDS_OF_UNIT = (".service", ".scope", ".socket", ".mount", ".swap")


class RateLimit(NamedTuple):
    """At most ``burst`` messages in ``interval`` seconds: LogRateLimitBurst and -IntervalSec of systemd.exec(5).

    The default is journald's, RateLimitBurst in journald.conf(5). Note that a unit's LogRateLimitIntervalSec=0 does
    not lift it: systemd takes it as not set, https://github.com/systemd/systemd/issues/22034.
    """

    burst: int = 10_000
    interval: float = 30.0


class Pace:
    """A token bucket that keeps messages within a rate limit, whenever journald's interval began.

    It gives 6/10 of the burst at once, and 3/10 of it in each interval. The last tenth is for the records that wait
    when the agent ends, and for its log lines.
    """

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._most = max(1.0, limit.burst * 0.6)
        self._rate = max(1e-3, limit.burst * 0.3 / limit.interval)  # tokens per second
        self._tokens, self._at = self._most, clock()

    def take(self) -> float:
        """Return 0 if a message may be sent now, else the seconds to wait until several may be sent."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return max(1.0, (1 - self._tokens) / self._rate)
        self._tokens -= 1
        return 0.0

    def hurry(self) -> None:
        """Release the last tenth of the burst, as the agent ends."""
        self._most += self.limit.burst * 0.1
        self._tokens += self.limit.burst * 0.1


class JournalSink:
    """A sink that sends each record to journald as a datagram; some hundred may wait in the socket."""

    def __init__(self, path: str = JOURNAL, find_limit: Callable[[], RateLimit] | None = None) -> None:
        self.name = "journal"
        self._path = path
        self._find_limit = find_limit or rate_limit
        self._pace: Pace | None = None
        self._socket: socket.socket | None = None

    def fileno(self) -> int | None:
        """Return the descriptor of the socket, or None while it is not open."""
        return None if self._socket is None else self._socket.fileno()

    def open(self) -> None:
        """Connect to journald, again if connected, and look up the rate limit that it applies. Raises OSError."""
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
        """Send a record as one datagram, shortened where the whole does not fit; connect first if need be.

        Raises Later where the rate limit leaves no room, BlockingIOError where the socket is full, and any other
        OSError of the connection; EMSGSIZE if even the shortened record is too long.
        """
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
            self.open()  # journald was restarted
            self._socket.send(data)

    def hurry(self) -> None:
        """Release the last tenth of the burst, as the agent ends."""
        if self._pace is not None:
            self._pace.hurry()

    def close(self) -> None:
        """Close the socket, if it is open; the next write opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def rate_limit(units: str = _UNITS, cgroup: str = "/proc/self/cgroup") -> RateLimit:
    """Return the rate limit of this process's unit, or journald's default."""
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
    """Return the unit of this process as journald finds it: by the path of its control group; cgroups(7)."""
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
    """Return a record that fits where net.core.wmem_default leaves less room than by default."""
    short = {name: value for name, value in record.items() if name != "arguments"}
    if "error" in short:
        short["error"] = str(short["error"])[:_CUT]
    return {**short, "cut": 1}


def _datagram(record: Record) -> bytes:
    """Return a record as a datagram of the native protocol; the time is journald's own.

    journalctl shows MESSAGE, and finds records by QGA_COMMAND and the other fields.
    """
    outcome = record.get("error") or record.get("decision") or record["event"]
    texts = [_field("MESSAGE", f"audit: {record.get('command') or record['event']}: {outcome}")]
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
    """The journal's names of the members of a record."""

    def __missing__(self, name: str) -> str:
        return self.setdefault(name, f"QGA_{name.upper()}")


_FIELDS = _Fields()


def _field(name: str, text: str) -> str:
    """Return a field as a line, or in the form for binary data where a request could forge another field."""
    if text.isprintable():
        return f"{name}={text}\n"
    data = text.encode(errors="backslashreplace")
    size = len(data).to_bytes(8, "little")
    return (name.encode() + b"\n" + size + data + b"\n").decode(errors="surrogateescape")
