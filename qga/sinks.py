"""Where the audit log goes: a file, a JSON object a line, or the journal, a field a member.

The rule it keeps: a write takes the whole record or raises OSError, at once; BlockingIOError where there is no room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Mapping
from typing import Protocol

from qga.log import is_journal
from qga.wire import encode

JOURNAL = "/run/systemd/journal/socket"

Record = Mapping[str, object]


def destination(setting: str | None, environ: Mapping[str, str]) -> str:
    """journal, off, or a path: by default journal for what systemd has started as a service; systemd.exec(5)."""
    if setting is not None:
        return setting
    service = is_journal(environ) or environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    return "journal" if service and os.path.exists(JOURNAL) else "off"


class Sink(Protocol):
    name: str

    def open(self) -> None:
        """Anew, after a rotation too. Raises OSError."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class FileSink:
    """Appends to a file, which only its owner can read if it is made here."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._descriptor: int | None = None
        self._torn = b""
        self._second, self._stamp = -1, ""

    def open(self) -> None:
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        self._descriptor = os.open(self.name, flags, 0o600)

    def write(self, record: Record) -> None:
        if self._descriptor is None:
            self.open()
        assert self._descriptor is not None
        line = self._torn + encode(self._timed(record))
        try:
            if os.write(self._descriptor, line) == len(line):
                self._torn = b""
                return
        except BlockingIOError:
            raise
        except OSError:
            self.close()  # the next try opens it anew: the file may have come back elsewhere
            raise
        self._torn = b"\n"  # it will be written again, as a whole, on a line of its own
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _timed(self, record: Record) -> Record:
        """With its time in ISO 8601, UTC, most of which is the same for a second; spans in microseconds."""
        at = record["time"]
        assert isinstance(at, float)
        if int(at) != self._second:
            self._second, self._stamp = int(at), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        timed = {**record, "time": f"{self._stamp}.{int(at % 1 * 1e6):06d}Z"}
        if "seconds" in timed:
            timed["seconds"] = round(timed["seconds"], 6)  # type: ignore[call-overload]
        return timed

    def close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


class JournalSink:
    """systemd's native protocol: a datagram of fields, https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""

    def __init__(self, path: str = JOURNAL) -> None:
        self.name = "journal"
        self._path = path
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self.close()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self._socket = sock

    def write(self, record: Record) -> None:
        data = _datagram(record)
        if self._socket is not None:
            try:
                self._socket.send(data)
            except BlockingIOError:
                raise
            except OSError:  # the journal was started anew
                self.close()
            else:
                return
        self.open()
        assert self._socket is not None
        self._socket.send(data)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


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
