"""A host that costs almost nothing: requests are prepared bytes, replies are read into one buffer."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

# The largest reply, 48 MiB in base64, fits. One is enough, as only one request is in flight.
_BUFFER = memoryview(bytearray(96 * 1024 * 1024))


class Client:
    """A host's connection to one agent. ``directory`` holds the files that the agent opens."""

    def __init__(self, sock: socket.socket, directory: str) -> None:
        self._socket = sock
        self.directory = directory
        self._buffer = _BUFFER

    def close(self) -> None:
        self._socket.close()

    def make_file(self, path: str, size: int) -> None:
        """Create a file of random bytes where the agent finds it."""
        with open(path, "wb") as file:
            file.write(os.urandom(size))

    def exchange(self, request: bytes) -> int:
        """Send one request, read its one line; returns its size."""
        self._socket.sendall(request)
        size = 0
        while True:
            size += self._socket.recv_into(self._buffer[size:])
            if self._buffer[size - 1] == 10:
                return size

    def pipeline(self, requests: bytes, count: int) -> None:
        """Send many, read as many lines; they must fit into the socket's buffers."""
        self._socket.sendall(requests)
        while count:
            size = self._socket.recv_into(self._buffer)
            count -= bytes(self._buffer[:size]).count(b"\n")

    def ask(self, command: str, **arguments: object) -> Any:
        """Carry out a command and return its result."""
        return self.ask_prepared(request(command, **arguments))

    def ask_prepared(self, request: bytes) -> Any:
        size = self.exchange(request)
        body = json.loads(bytes(self._buffer[:size]))
        if "error" in body:
            raise SystemExit(f"{request[:200]!r}: {body['error']['desc']}")
        return body["return"]

    def has_exited(self, request: bytes) -> bool:
        """Return whether a program has exited, by a guest-exec-status whose reply may be large."""
        size = self.exchange(request)
        return b"true" in bytes(self._buffer[: min(size, 200)]) + bytes(self._buffer[max(0, size - 200) : size])


def request(command: str, **arguments: object) -> bytes:
    """An underscore in a name stands for a hyphen."""
    given = {name.replace("_", "-"): value for name, value in arguments.items()}
    return json.dumps({"execute": command, **({"arguments": given} if given else {})}).encode() + b"\n"
