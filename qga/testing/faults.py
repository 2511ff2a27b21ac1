"""The agent's dispatcher, with what a test wants to go wrong before and after it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qga.agent.binding import Handler
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher
from qga.agent.tasks import Task
from qga.protocol.errors import CommandError
from qga.protocol.schema import Command
from qga.testing.handlers import Answer, least


@dataclass
class Fault:
    """A fault that a test wants, the next ``times`` times that ``command`` comes (any command, if None)."""

    command: str | None
    delay: float = 0.0  # seconds before the answer
    drop: bool = False  # carry the command out, and never answer
    garbage: bytes = b""  # sent before the answer
    disconnect: bool = False  # close the connection instead of answering
    error: str = ""  # answer this error
    times: int = 1


class FaultyDispatcher(Dispatcher):
    """A dispatcher that keeps the ``requests`` that came, and applies ``faults``; ``stopping`` ends a delay."""

    def __init__(self, ctx: Context, answers: Mapping[str, Answer]) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault] = []
        self.stopping = threading.Event()
        self._ctx, self._answers = ctx, answers
        self._error = ""  # that of the fault in progress
        super().__init__(ctx, {command.name: self._handler(command) for command in ctx.schema.commands.values()})

    def handle(self, message: object, size: int = 0) -> bytes | Task[bytes | None] | None:
        """Return the agent's reply to one message, after the faults. Raises ConnectionAbortedError to hang up."""
        request = message if isinstance(message, dict) else {}
        name, arguments = request.get("execute"), request.get("arguments", {})
        if isinstance(name, str) and name in self._ctx.schema.commands and isinstance(arguments, dict):
            self.requests.append((name, arguments))
        wanted = (name,) if self.is_sync(message) else (name, None)
        fault = next((fault for fault in self.faults if fault.times and fault.command in wanted), None)
        self._error = "" if fault is None else fault.error
        reply = super().handle(message, size)
        if fault is None:
            return reply
        fault.times -= 1
        self.stopping.wait(fault.delay)
        if fault.disconnect:
            raise ConnectionAbortedError
        if isinstance(reply, Task):
            reply = reply.result()  # no handler of a fake guest waits for anything
        return fault.garbage + (b"" if reply is None or fault.drop else reply) or None

    def _handler(self, command: Command) -> Handler:
        def handle(_: Context, **arguments: Any) -> Any:
            if self._error:
                raise CommandError(self._error)
            if command.name in self._answers:
                return self._answers[command.name](**arguments)
            return None if command.returns is None else least(self._ctx.schema.type(command.returns))

        async def handle_slowly(ctx: Context, **arguments: Any) -> Any:
            return handle(ctx, **arguments)

        return handle_slowly if command.slow else handle
