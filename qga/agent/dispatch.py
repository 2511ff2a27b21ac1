"""The dispatcher makes a reply of a decoded message: envelope, command, policy, arguments, handler; in QEMU's order.

The rule it keeps: only here do errors become replies, and no exception of a handler goes further.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from qga.agent.audit import NoAudit, redaction
from qga.agent.binding import Handler
from qga.agent.call import Call
from qga.agent.context import Context
from qga.agent.policy import Decision, refusal
from qga.agent.service.log import CALLS
from qga.agent.tasks import Task
from qga.protocol.errors import CommandError, CommandNotFound, QgaError, RequestError
from qga.protocol.schema import Command
from qga.protocol.validate import Validator
from qga.protocol.wire import encode

if TYPE_CHECKING:
    from collections.abc import Awaitable

log = logging.getLogger(__name__)


def log_call(line: object) -> None:
    """Log a call by the logging module, where no Log was set up."""
    logging.getLogger(CALLS).info("%s", line)


class _Bound:
    """A command with its handler. Its validator is compiled when it is first called: compiling all takes long."""

    def __init__(self, command: Command, handler: Handler) -> None:
        self.command = command
        self.handler = handler
        self.validate: Validator = self._compile_and_validate
        self._keywords = {name: name.replace("-", "_") for name in command.members if "-" in name}
        self.defaults = {name.replace("_", "-"): value for name, value in (handler.__kwdefaults__ or {}).items()}

    def _compile_and_validate(self, arguments: object) -> None:
        self.validate = self.command.validator()
        self.validate(arguments)

    def call(self, ctx: Context, arguments: dict[str, Any]) -> object:
        if self._keywords:
            arguments = {self._keywords.get(name, name): value for name, value in arguments.items()}
        return self.handler(ctx, **arguments)


class Dispatcher:
    def __init__(
        self,
        ctx: Context,
        handlers: Mapping[str, Handler],
        audit: NoAudit | None = None,
        log_call: Callable[[object], None] = log_call,
    ) -> None:
        """``log_call`` gets a line, to be made with str(), for each command that is carried out."""
        self._ctx = ctx
        self._audit = audit or NoAudit()
        self._log_call = log_call
        self._bound = {name: _Bound(command, handlers[name]) for name, command in ctx.schema.commands.items()}

    def handle(self, message: object, size: int = 0) -> bytes | Task[bytes | None] | None:
        """Return the reply to one message as a line; of a slow command, a task with that result.

        It is None where success is silent. Never raises, nor does the task. ``size`` is how many bytes the message
        had, for the audit log.
        """
        if not isinstance(message, dict):
            return self._refuse(message, size)
        call = Call(message, size)
        self._audit.begin(call)
        try:
            bound = self._admit(call)
            command, ctx = bound.command, self._ctx
            self._log_call(redaction.Called(command, call.arguments))
            call.result = bound.call(ctx if call.target is None else ctx.about(call.target), call.arguments)
        except Exception as error:
            return self._failed(call, error)
        finally:
            if call.target is not None:
                call.target.close()
        return Task(self._later(call)) if command.slow else self._succeeded(call)

    def judge(self, message: object) -> Decision:
        """Decide about a message without carrying it out; the target is the caller's to close.

        Raises RequestError for what is not a valid request, and CommandNotFound where the command does not exist.
        """
        if not isinstance(message, dict):
            raise _not_a_request(message)
        call = Call(message, 0)
        try:
            self._admit(call)
        except CommandNotFound as error:
            if call.command is None:
                raise
            return Decision(False, error.rule or "", call.target)
        return Decision(True, call.rule or "no list, no policy file and no profile forbids it", call.target)

    def is_sync(self, message: object) -> bool:
        """Return whether a client that sends this has given up waiting for earlier replies."""
        name = message.get("execute") if isinstance(message, dict) else None
        bound = self._bound.get(name) if isinstance(name, str) else None
        return bound is not None and bound.command.sync

    def _refuse(self, message: object, size: int) -> bytes:
        """Reply to what is not a request: bad JSON, or not an object."""
        if size:  # what has no size was in the same line as what had it
            self._audit.malformed(message, size)
        return self._line({"error": _not_a_request(message).wire()})

    def _admit(self, call: Call) -> _Bound:
        """Find the command of a call and check that it may run. Raises RequestError and CommandNotFound."""
        bound = self._find(call)
        command, policy = bound.command, self._ctx.policy
        rule = policy.check(command.name)
        bound.validate(call.arguments)
        call.rule = rule
        if command.name in policy.by_argument:
            decision = policy.decide(command, call.arguments, bound.defaults)
            call.rule, call.target = decision.rule, decision.target
            if not decision.allowed:
                raise refusal(command.name, decision.rule)
        return bound

    def _find(self, call: Call) -> _Bound:
        """Check the envelope and find the command that it names. Raises RequestError and CommandNotFound."""
        message = call.message
        if "exec-oob" in message:
            raise RequestError("QMP input member 'exec-oob' is unexpected")
        name = message.get("execute", "")
        if not isinstance(name, str):
            raise RequestError("QMP input member 'execute' must be a string")
        if not isinstance(call.arguments, dict):
            raise RequestError("QMP input member 'arguments' must be an object")
        for member in message:
            if member not in _ENVELOPE:
                raise RequestError(f"QMP input member '{member}' is unexpected")
        if "execute" not in message:
            raise RequestError("QMP input lacks member 'execute'")
        bound = self._bound.get(name)
        if bound is None:
            raise CommandNotFound(f"The command {name} has not been found")
        call.command = bound.command
        return bound

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
            answer = CommandError(f"internal error: {type(error).__name__}: {error}")
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
        """Hand the call to the audit log, before the host gets the reply."""
        try:
            self._audit.end(call, error)
        except Exception as bug:  # no request may end the agent
            name = call.command and call.command.name
            log.error("the audit log has no record of %s: %s", name, type(bug).__name__)
        return call.reply

    def _line(self, body: dict[str, object], *, delimited: bool = False) -> bytes:
        """Return the line of a reply, or of a refusal where it would be larger than ``max-reply`` allows."""
        line = encode(body, delimited=delimited)
        limit = self._ctx.config.max_reply
        if not limit or len(line) <= limit:
            return line
        refused = {"error": CommandError(f"the reply has {len(line)} bytes, more than {limit} (max-reply)").wire()}
        if "id" not in body:
            return encode(refused)
        with_id = encode({**refused, "id": body["id"]})
        return with_id if len(with_id) <= limit else encode(refused)


def _not_a_request(message: object) -> RequestError:
    return message if isinstance(message, RequestError) else RequestError("QMP input must be a JSON object")


_ENVELOPE = frozenset(("execute", "arguments", "id"))
