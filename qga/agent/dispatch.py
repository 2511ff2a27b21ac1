"""The dispatcher: it takes a decoded message through admission, handler and audit log, and returns the reply.

The rule it keeps: errors become replies only here, and no exception from a handler goes any further.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from qga.agent.admission import Admission, not_a_request
from qga.agent.audit import NoAudit, redaction
from qga.agent.binding import Handler
from qga.agent.call import Call
from qga.agent.context import Context
from qga.agent.service.log import CALLS
from qga.agent.tasks import Task
from qga.protocol.errors import CommandError, CommandNotFound, QgaError, describe_bug
from qga.protocol.schema import Command
from qga.protocol.wire import encode

if TYPE_CHECKING:
    from collections.abc import Awaitable

log = logging.getLogger(__name__)


def log_call(line: object) -> None:
    """Log a call through the logging module; used where no agent log (``service.log``) is set up."""
    logging.getLogger(CALLS).info("%s", line)


class Dispatcher:
    """The agent's dispatcher: it carries out requests and builds their replies. It never raises."""

    def __init__(
        self,
        ctx: Context,
        handlers: Mapping[str, Handler],
        audit: NoAudit | None = None,
        log_call: Callable[[object], None] = log_call,
    ) -> None:
        """Pair the schema's commands with ``handlers``, by name.

        ``log_call`` is called with an object for each command that is carried out; str() of it is the line to log.
        """
        self._ctx = ctx
        self._audit = audit or NoAudit()
        self._log_call = log_call
        self._admission = Admission(ctx.schema, ctx.policy, handlers)
        self.is_sync = self._admission.is_sync

    def handle(self, message: object, size: int = 0) -> bytes | Task[bytes | None] | None:
        """Return the reply line for one message, or, for a slow command, a task that returns it.

        The reply is None for a command that does not answer on success. Neither this method nor the task raises.
        ``size`` is the length of the message in bytes, for the audit log.
        """
        if not isinstance(message, dict):
            return self._refuse(message, size)
        call = Call(message, size)
        self._audit.begin(call)
        try:
            bound = self._admission.admit(call)
            command, ctx = bound.command, self._ctx
            self._log_call(redaction.Called(command, call.arguments))
            call.result = bound.call(ctx if call.target is None else ctx.about(call.target), call.arguments)
        except Exception as error:
            return self._failed(call, error)
        finally:
            if call.target is not None:
                call.target.close()
        return Task(self._later(call)) if command.slow else self._succeeded(call)

    def _refuse(self, message: object, size: int) -> bytes:
        """Return the reply to a message that is not a request: bad JSON, or not an object."""
        if size:  # size 0: it shared a line with another message, and that one is recorded
            self._audit.malformed(message, size)
        return self._line({"error": not_a_request(message).wire()})

    async def _later(self, call: Call) -> bytes | None:
        try:
            call.result = await cast("Awaitable[object]", call.result)
            return self._succeeded(call)
        except Exception as error:
            return self._failed(call, error)

    def _succeeded(self, call: Call) -> bytes | None:
        command = cast(Command, call.command)
        if command.success_response:
            body: dict[str, object] = {"return": {} if call.result is None else call.result}
            if "id" in call.message:
                body["id"] = call.message["id"]
            call.reply = self._line(body, delimited=command.delimited)
        return self._end(call, None)

    def _failed(self, call: Call, error: Exception) -> bytes | None:
        name = call.command.name if call.command else "request"
        if isinstance(error, QgaError):
            answer = error
            if isinstance(error, CommandNotFound):
                call.rule = error.rule
            if log.isEnabledFor(logging.INFO):
                by = f" ({error.rule})" if isinstance(error, CommandNotFound) and error.rule else ""
                log.info("%s: %s%s", name, redaction.words(error, call.message, call.command), by)
        else:
            answer = CommandError(describe_bug(error))
            log.error("%s: %s", name, redaction.words(answer, call.message, call.command))
            if log.isEnabledFor(logging.DEBUG):
                trace = "".join(traceback.format_exception(error))
                for line in redaction.words(error, call.message, call.command, trace).splitlines():
                    log.debug("  %s", line)
        body: dict[str, object] = {"error": answer.wire()}
        if "id" in call.message:
            body["id"] = call.message["id"]
        call.reply = self._line(body)
        return self._end(call, answer)

    def _end(self, call: Call, error: QgaError | None) -> bytes | None:
        """Record the call in the audit log before the host gets the reply, and return that reply."""
        try:
            self._audit.end(call, error)
        except Exception as bug:  # a request must never end the agent
            name = call.command and call.command.name
            log.error("the audit log has no record of %s: %s", name, type(bug).__name__)
        return call.reply

    def _line(self, body: dict[str, object], *, delimited: bool = False) -> bytes:
        """Return the encoded reply, or an error in its place if it is longer than ``max-reply`` allows."""
        line = encode(body, delimited=delimited)
        limit = self._ctx.config.max_reply
        if not limit or len(line) <= limit:
            return line
        refused = {"error": CommandError(f"the reply has {len(line)} bytes, more than {limit} (max-reply)").wire()}
        if "id" not in body:
            return encode(refused)
        with_id = encode({**refused, "id": body["id"]})
        return with_id if len(with_id) <= limit else encode(refused)
