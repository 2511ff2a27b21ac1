"""Admission: decides whether a request may be carried out.

It checks the envelope, the command, the policy and the arguments, in QEMU's order. The rule it keeps: it decides, and
carries nothing out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qga.agent.binding import Handler
from qga.agent.call import Call
from qga.agent.context import Context
from qga.agent.policy import Decision, Policy, refusal
from qga.protocol.errors import CommandNotFound, RequestError
from qga.protocol.schema import Command, Schema
from qga.protocol.validate import Validator

_ENVELOPE = frozenset(("execute", "arguments", "id"))


class Bound:
    """A command with its handler. The validator is compiled on first use: compiling all at start takes long."""

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
        """Call the handler with the arguments as keywords: ``buf-b64`` is ``buf_b64``."""
        if self._keywords:
            arguments = {self._keywords.get(name, name): value for name, value in arguments.items()}
        return self.handler(ctx, **arguments)


class Admission:
    """The admission check: it finds a request's command in the schema and lets the policy decide."""

    def __init__(self, schema: Schema, policy: Policy, handlers: Mapping[str, Handler]) -> None:
        self._policy = policy
        self._bound = {name: Bound(command, handlers[name]) for name, command in schema.commands.items()}

    def admit(self, call: Call) -> Bound:
        """Find the command of a call and check that it may run with these arguments.

        Raises RequestError, and CommandNotFound for a command that does not exist or is refused.
        """
        bound = self._find(call)
        command, policy = bound.command, self._policy
        rule = policy.check(command.name)
        bound.validate(call.arguments)
        call.rule = rule
        if command.name in policy.by_argument:
            decision = policy.decide(command, call.arguments, bound.defaults)
            call.rule, call.target = decision.rule, decision.target
            if not decision.allowed:
                raise refusal(command.name, decision.rule)
        return bound

    def judge(self, message: object) -> Decision:
        """Return whether a message would be allowed, without carrying it out; the caller closes the target.

        Raises RequestError if the message is not a valid request, and CommandNotFound if the command does not exist.
        """
        if not isinstance(message, dict):
            raise not_a_request(message)
        call = Call(message, 0)
        try:
            self.admit(call)
        except CommandNotFound as error:
            if call.command is None:
                raise
            return Decision(False, error.rule or "", call.target)
        return Decision(True, call.rule or "no list, no policy file and no profile forbids it", call.target)

    def is_sync(self, message: object) -> bool:
        """Return whether a message is a sync: a client that sends one has given up waiting for earlier replies."""
        name = message.get("execute") if isinstance(message, dict) else None
        bound = self._bound.get(name) if isinstance(name, str) else None
        return bound is not None and bound.command.sync

    def _find(self, call: Call) -> Bound:
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


def not_a_request(message: object) -> RequestError:
    """Return the error for a message that is not a request.

    For bad JSON the decoder has already put the error in place of the message; any other value is not an object."""
    return message if isinstance(message, RequestError) else RequestError("QMP input must be a JSON object")
