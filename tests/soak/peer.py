"""The host's end of one connection, which knows the expected replies and their order."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from typing import Any

from tests.lines import Closed, Lines
from tests.soak.report import Report

PATIENCE = 20.0  # seconds for a reply: this may be a busy machine


class Broken(Exception):  # noqa: N818
    """An unexpected reply, which the report includes; the connection is unusable."""


class Peer:
    """A connection whose request ids are never reused, not even on another connection."""

    def __init__(self, path: str, report: Report) -> None:
        self.lines = Lines.connect(path)
        self._report = report
        self._awaited: deque[tuple[int | None, str, float]] = deque()

    def spell(self, execute: str, arguments: dict[str, object]) -> bytes:
        """Return a request as bytes; its reply is expected from now on."""
        self._report.requests += 1
        number = self._report.requests
        self._awaited.append((number, execute, time.monotonic()))
        return json.dumps({"execute": execute, "arguments": arguments, "id": number}).encode() + b"\n"

    def nonsense(self, data: bytes, complaints: int = 1) -> bytes:
        """Return bytes that are not a request; their errors are expected from now on."""
        self._report.requests += complaints
        self._awaited.extend([(None, repr(data[:20]), time.monotonic())] * complaints)
        return data

    def ask(self, execute: str, **arguments: object) -> dict[str, Any]:
        self.lines.send(self.spell(execute, {name.replace("_", "-"): value for name, value in arguments.items()}))
        return self.receive()

    def receive_all(self) -> None:
        while self._awaited:
            self.receive()

    def receive(self) -> dict[str, Any]:
        """The next reply, which must be that to the oldest request."""
        return self._judge(self._read(b"\n"))

    def receive_delimited(self) -> list[bytes]:
        """The next reply that 0xFF precedes; returns the lines that came before."""
        stale = self._read(b"\xff")
        self._judge(b"\xff" + self._read(b"\n"))
        return stale.splitlines()

    def _read(self, delimiter: bytes) -> bytes:
        try:
            return self.lines.read_until(delimiter, PATIENCE)
        except (TimeoutError, Closed) as error:
            self._report.lost += len(self._awaited)
            raise Broken(f"{error}, awaited {list(self._awaited)[:3]}") from None

    def _judge(self, line: bytes) -> dict[str, Any]:
        self._report.replies += 1
        reply: dict[str, Any] = json.loads(line.removeprefix(b"\xff"))
        got = reply.get("id")
        numbers = [number for number, _, _ in self._awaited]
        if got not in numbers:
            self._report.doubled += 1
            raise Broken(f"nobody awaits {line[:200]!r}")
        if skipped := numbers.index(got):
            self._report.lost += skipped
            raise Broken(f"{skipped} replies are missing before {line[:200]!r}")
        _, name, since = self._awaited.popleft()
        self._report.slowest = max(self._report.slowest, (time.monotonic() - since, name))
        if line.startswith(b"\xff") != (name == "guest-sync-delimited" and "return" in reply):
            self._report.wrong.append(f"{name} is delimited in another way: {line[:200]!r}")
        if "error" in reply:
            self._report.errors[_gist(reply["error"]["desc"])] += 1
        return reply

    def quiet(self) -> None:
        """Assert that nothing arrives beyond the expected replies."""
        more = self.lines.read_available(0)
        if more:
            self._report.doubled += more.count(b"\n")
            raise Broken(f"nobody awaits {more[:200]!r}")

    def close(self) -> None:
        """Forget the replies still expected."""
        self._report.abandoned += len(self._awaited)
        self.lines.close()


def _gist(text: str) -> str:
    """An error's text without what the request said."""
    return re.sub(r"\b\d+\b", "N", re.sub(r"'.*'", "'…'", text, flags=re.DOTALL))[:90]
