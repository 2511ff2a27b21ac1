"""From a decoded message to a reply: envelope, command, policy, arguments, handler; in QEMU's order.

Only here do errors become replies, and nothing that a handler raises gets past.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from qga.agent.audit import redaction
from qga.agent.binding import Handler
from qga.agent.context import Context
from qga.agent.policy import Decision, refusal
from qga.agent.service.log import AUDIT
from qga.agent.tasks import Task
from qga.protocol.errors import CommandError, CommandNotFound, QgaError, RequestError
from qga.protocol.schema import Command
from qga.protocol.validate import Validator
from qga.protocol.wire import encode

if TYPE_CHECKING:
    from qga.agent.audit import Audit, Entry

log = logging.getLogger(__name__)


def log_called(line: object) -> None:
    """Without a Log: by the logging module."""
    logging.getLogger(AUDIT).info("%s", line)


class Reply(NamedTuple):
    """``body`` goes out as one line; with ``delimited``, after one byte 0xFF. ``line`` is that, if it is made."""

    body: dict[str, object]
    delimited: bool = False
    line: bytes = b""


class _Bound:
    """A command with its handler. Its validator is compiled when it is first called: compiling all takes long."""

    def __init__(self, command: Command, handler: Handler) -> None:
        self.command = command
        self.handler = handler
        self._validate: Validator | None = None
        self._keywords = {name: name.replace("-", "_") for name in command.members if "-" in name}
        self.defaults = {name.replace("_", "-"): value for name, value in (handler.__kwdefaults__ or {}).items()}

    def validate(self, arguments: object) -> None:
        if self._validate is None:
            self._validate = self.command.validator()
        self._validate(arguments)

    def call(self, ctx: Context, arguments: dict[str, Any]) -> object:
        if self._keywords:
            arguments = {self._keywords.get(name, name): value for name, value in arguments.items()}
        return self.handler(ctx, **arguments)


class Dispatcher:
    def __init__(
        self,
        ctx: Context,
        handlers: Mapping[str, Handler],
        audit: Audit | None = None,
        called: Callable[[object], None] = log_called,
    ) -> None:
        """``called`` gets a line, to be made with str(), for each command that is carried out."""
        self._ctx = ctx
        self._audit = audit
        self._called = called
        self._bound = {name: _Bound(command, handlers[name]) for name, command in ctx.schema.commands.items()}

    def handle(self, message: object, size: int = 0) -> Reply | Task[Reply | None] | None:
        """The reply to one message, or None where success is silent; of a slow command, a task with that result.

        Never raises, nor does the task. ``size`` is how many bytes the message had, for the audit log.
        """
        if not isinstance(message, dict):
            if self._audit is not None and size:  # what has no size was in the same line as what had it
                self._audit.malformed(message, size)
            unfit = message if isinstance(message, RequestError) else RequestError("QMP input must be a JSON object")
            return Reply({"error": unfit.wire()})
        entry = None if self._audit is None else self._audit.begin(size)
        command, target, ctx = None, None, self._ctx
        try:
            bound = self._find(message)
            command = bound.command
            arguments = message.get("arguments", {})
            rule = ctx.policy.check(command.name)
            bound.validate(arguments)
            if entry is not None:
                entry.command, entry.arguments = command, arguments
            if command.name in ctx.policy.by_argument:
                decision = ctx.policy.decide(command, arguments, bound.defaults)
                rule, target = decision.rule, decision.target
                if not decision.allowed:
                    raise refusal(command.name, rule)
                if target is not None:
                    ctx = ctx.about(target)
            if entry is not None:
                entry.rule = rule
            self._called(redaction.Called(command, arguments))
            result = bound.call(ctx, arguments)
        except Exception as error:
            return self._failed(entry, message, command, error)
        finally:
            if target is not None:
                target.close()  # no slow command has one
        if command.slow:
            return Task(self._later(entry, message, command, cast("Awaitable[object]", result)))
        return self._succeeded(entry, message, command, result)

    async def _later(
        self, entry: Entry | None, message: Mapping[str, object], command: Command, result: Awaitable[object]
    ) -> Reply | None:
        try:
            return self._succeeded(entry, message, command, await result)
        except Exception as error:
            return self._failed(entry, message, command, error)

    def _succeeded(
        self, entry: Entry | None, message: Mapping[str, object], command: Command, result: object
    ) -> Reply | None:
        reply = None
        if command.success_response:
            body: dict[str, object] = {"return": {} if result is None else result}
            if "id" in message:
                body["id"] = message["id"]
            reply = Reply(body, command.delimited)
        return reply if entry is None else self._record(entry, message, command, None, result, reply)

    def _failed(
        self, entry: Entry | None, message: Mapping[str, object], command: Command | None, error: Exception
    ) -> Reply | None:
        name = command.name if command else "request"
        if isinstance(error, QgaError):
            told = error
            if log.isEnabledFor(logging.INFO):
                by = f" ({told.rule})" if isinstance(told, CommandNotFound) and told.rule else ""
                log.info("%s: %s%s", name, redaction.words(told, message, command), by)
        else:
            told = CommandError(f"internal error: {type(error).__name__}: {error}")
            log.error("%s: %s", name, redaction.words(told, message, command))
            if log.isEnabledFor(logging.DEBUG):
                trace = "".join(traceback.format_exception(error))
                for line in redaction.words(error, message, command, trace).splitlines():
                    log.debug("  %s", line)
        body: dict[str, object] = {"error": told.wire()}
        if "id" in message:
            body["id"] = message["id"]
        return Reply(body) if entry is None else self._record(entry, message, command, told, None, Reply(body))

    def _record(
        self,
        entry: Entry,
        message: Mapping[str, object],
        command: Command | None,
        error: QgaError | None,
        result: object,
        reply: Reply | None,
    ) -> Reply | None:
        """Into the audit log, before the host hears of it."""
        line = b""
        if reply is not None:
            line = self.encode(reply)
            reply = reply._replace(line=line)
        entry.command = command
        try:
            cast("Audit", self._audit).end(entry, message, error, result, len(line))
        except Exception as bug:  # no request may end the agent so
            log.error("the audit log has no record of %s: %s", command and command.name, type(bug).__name__)
        return reply

    def judge(self, message: object) -> Decision:
        """What would be decided of a message, without carrying it out; the target is the caller's to close.

        Raises RequestError for what is no valid request, and CommandNotFound where there is no such command.
        """
        if isinstance(message, RequestError):
            raise message
        if not isinstance(message, dict):
            raise RequestError("QMP input must be a JSON object")
        bound, policy = self._find(message), self._ctx.policy
        arguments = message.get("arguments", {})
        try:
            rule = policy.check(bound.command.name)
        except CommandNotFound as error:
            return Decision(False, error.rule or "")
        bound.validate(arguments)
        if bound.command.name in policy.by_argument:
            return policy.decide(bound.command, arguments, bound.defaults)
        return Decision(True, rule or "no list, no policy file and no profile forbids it")

    def encode(self, reply: Reply) -> bytes:
        """The line for a reply; where it would be larger than the owner wants any to be, the refusal."""
        if reply.line:
            return reply.line
        line = encode(reply.body, delimited=reply.delimited)
        limit = self._ctx.config.max_reply
        if not limit or len(line) <= limit:
            return line
        refusal = {"error": CommandError(f"the reply has {len(line)} bytes, more than {limit} (max-reply)").wire()}
        if "id" not in reply.body:
            return encode(refusal)
        with_id = encode({**refusal, "id": reply.body["id"]})
        return with_id if len(with_id) <= limit else encode(refusal)

    def is_sync(self, message: object) -> bool:
        """Whether a client that sends this has given up on what it asked for earlier."""
        name = message.get("execute") if isinstance(message, dict) else None
        bound = self._bound.get(name) if isinstance(name, str) else None
        return bound is not None and bound.command.sync

    def _find(self, message: dict[str, object]) -> _Bound:
        """Check the envelope and find the command that it names."""
        if "exec-oob" in message:
            raise RequestError("QMP input member 'exec-oob' is unexpected")
        name = message.get("execute", "")
        if not isinstance(name, str):
            raise RequestError("QMP input member 'execute' must be a string")
        if not isinstance(message.get("arguments", {}), dict):
            raise RequestError("QMP input member 'arguments' must be an object")
        for member in message:
            if member not in _ENVELOPE:
                raise RequestError(f"QMP input member '{member}' is unexpected")
        if "execute" not in message:
            raise RequestError("QMP input lacks member 'execute'")
        bound = self._bound.get(name)
        if bound is None:
            raise CommandNotFound(f"The command {name} has not been found")
        return bound


_ENVELOPE = frozenset(("execute", "arguments", "id"))
