"""QEMU's machine protocol, as much as the tests need: commands in turn, events kept until somebody waits for them."""

import json
import time
from pathlib import Path
from typing import Any

from tests.lines import Lines


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    def __init__(self, path: Path, timeout: float = 30) -> None:
        self._lines = Lines.connect(path)
        self._events: list[dict[str, Any]] = []
        try:
            self._lines.read_line(timeout)  # the greeting
            self.command("qmp_capabilities", timeout=timeout)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lines.close()

    def command(self, name: str, /, *, timeout: float = 30, **arguments: Any) -> Any:
        """Carry out a command and return its result. An underscore in an argument's name stands for QMP's hyphen."""
        request = {"execute": name, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        self._lines.send(json.dumps(request).encode() + b"\n", timeout)
        while True:
            message = json.loads(self._lines.read_line(timeout))
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise QmpError(f"{name}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait_event(self, name: str, timeout: float) -> dict[str, Any]:
        """The first event of this name since the last one that was waited for; the earlier others are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            while self._events:
                event = self._events.pop(0)
                if event["event"] == name:
                    return event
            self._events.append(json.loads(self._lines.read_line(deadline - time.monotonic())))
