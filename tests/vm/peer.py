"""The host's side of an agent port, for tests that need the raw bytes."""

import json
import secrets
from pathlib import Path
from typing import Any

from tests.lines import Lines, connected


class AgentError(Exception):
    """The agent answered with an error: its class and its text."""

    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(f"{error['class']}: {error['desc']}")
        self.error_class = error["class"]
        self.desc = error["desc"]


class Peer(Lines):
    """A raw client; `with Peer(guest.port(...))` closes it. QEMU serves one client per port at a time."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        super().__init__(connected(path))
        self.timeout = timeout

    def sync(self, timeout: float | None = None) -> None:
        """Synchronise: the next line will answer the next request, whatever was sent before."""
        number = secrets.randbits(31)
        self.request("guest-sync-delimited", id=number, prefix=b"\xff")
        reply = None
        while reply != {"return": number}:  # another may be that of a sync whose client did not wait for it
            self.read_until(b"\xff", timeout or self.timeout)
            reply = json.loads(self.read_line(timeout or self.timeout))

    def request(self, command: str, *, prefix: bytes = b"", **arguments: Any) -> None:
        """Send a request and do not wait: the suspend commands and guest-shutdown answer only when they fail."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        body = {"execute": command, **({"arguments": named} if named else {})}
        self.send(prefix + json.dumps(body).encode() + b"\n")

    def reply(self, timeout: float | None = None) -> Any:
        """Return the next reply's result; raises AgentError for an error reply."""
        message = json.loads(self.read_line(timeout or self.timeout))
        if "error" in message:
            raise AgentError(message["error"])
        return message["return"]

    def call(self, command: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Send a request and wait for its reply. An underscore in an argument's name stands for a hyphen."""
        self.request(command, **arguments)
        return self.reply(timeout)
