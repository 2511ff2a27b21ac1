"""The policy: decides whether a command may run now, by the configured lists and rules and by the freeze state.

Both the lists and the rules must allow a command. A command that is refused whatever its arguments are is refused
before the arguments are validated. Where the rules depend on arguments, ``decide`` checks them and holds open the
file that they name, so that the handler opens or executes exactly the file that was checked.

While filesystems are frozen, exactly those commands are permitted that the schema allows while frozen, whatever the
lists and rules say: a host must always be able to thaw. While a required audit log cannot be written, only these
commands are permitted, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qga.protocol.errors import CommandNotFound

if TYPE_CHECKING:
    from qga.agent.linux.pathwalk import Target
    from qga.agent.policy.rules import Rule, Rules
    from qga.protocol.schema import Command


class Decision:
    """The decision about a request: whether it is allowed, and the ``rule`` that decided.

    ``target`` is the file that a rule looked at, which the caller closes, or None if no rule looked at one.
    """

    def __init__(self, allowed: bool, rule: str, target: Target | None = None) -> None:
        self.allowed = allowed
        self.rule = rule
        self.target = target


class Policy:
    """The lists and rules in force, and whether filesystems are frozen."""

    def __init__(
        self,
        allow: Iterable[str] = (),
        block: Iterable[str] = (),
        while_frozen: Iterable[str] = (),
        rules: Rules | None = None,
    ) -> None:
        self._while_frozen = frozenset(while_frozen)
        self._frozen = False
        self._unrecorded = False
        self.configure(allow, block, rules)

    def configure(self, allow: Iterable[str], block: Iterable[str], rules: Rules | None) -> None:
        """Apply new lists and rules. An empty ``allow`` allows all commands; ``block`` forbids those in it.

        Without ``rules`` only the lists decide. ``self.by_argument`` is set to the rules that depend on arguments, by
        command.
        """
        self._allow = frozenset(allow)
        self._block = frozenset(block)
        chains: Mapping[str, tuple[Rule, ...]] = {} if rules is None else rules.chains
        self._decided = {name: chain[0].where for name, chain in chains.items() if not chain[0].constraints}
        self._never = {
            name: chain[-1].where for name, chain in chains.items() if not any(rule.allow for rule in chain)
        }
        self.by_argument = {
            name: chain for name, chain in chains.items() if chain[0].constraints and name not in self._never
        }

    def on_freeze(self, frozen: bool) -> None:
        """Record that filesystems were frozen or thawed; FreezeState calls this."""
        self._frozen = frozen

    def on_audit_failure(self, failing: bool) -> None:
        """Record that the audit log fails or works again; a required Audit calls this."""
        self._unrecorded = failing

    def permits(self, command: str) -> bool:
        """Return whether a command may run now, at least with some arguments."""
        return self._refusal(command) is None

    def check(self, command: str) -> str | None:
        """Return the rule that allows a command whatever its arguments are, or None.

        Raises CommandNotFound, which is how QEMU refuses a command that may not run.
        """
        rule = self._refusal(command)
        if rule is not None:
            raise refusal(command, rule)
        return self._decided.get(command) or ("allow-rpcs" if self._allow and not self._frozen else None)

    def decide(self, command: Command, arguments: Mapping[str, Any], defaults: Mapping[str, object]) -> Decision:
        """Return what the rules decide about valid arguments.

        ``defaults`` are the values of arguments that were not given. No rule looks at a path or an argument that is
        longer than the kernel accepts: the request then fails with the kernel's error, which is kept in the target.
        """
        too_long = _too_long(command, arguments)
        if too_long is not None:
            return Decision(True, f"no rule applies: {too_long.error and too_long.error.strerror}", too_long)
        named = command.file or command.program or ""
        target, seen = None, arguments
        for rule in self.by_argument[command.name]:
            if target is None and named in rule.constraints:
                target = _target(command, arguments)
                seen = {**arguments, named: target.path}
            if rule.matches(seen, defaults):
                break
        return Decision(rule.allow, rule.where, target)

    def review(self, command: Command, arguments: Mapping[str, Any] | None, path: str) -> str | None:
        """Return the rule that would now refuse a request that was allowed earlier, or None.

        ``arguments`` are those of the request, defaults included, or None if they were too large to keep: then any
        rule that depends on them refuses. ``path`` is the real path of the file.
        """
        forbidden = self._forbidden(command.name)
        if forbidden is not None:
            return forbidden
        named = command.file or command.program or ""
        seen = {**(arguments or {}), named: path}
        for rule in self.by_argument.get(command.name, ()):
            if arguments is None and rule.constraints.keys() - {named}:
                return f"{rule.where}, which depends on arguments that were too large to be kept"
            if rule.matches(seen, {}):
                return None if rule.allow else rule.where
        return None

    def _refusal(self, command: str) -> str | None:
        """Return the rule that forbids a command now, or None."""
        if self._frozen:
            return None if command in self._while_frozen else "frozen"
        if self._unrecorded and command not in self._while_frozen:
            return "audit-required"
        return self._forbidden(command)

    def _forbidden(self, command: str) -> str | None:
        """Return the list or rule that forbids a command whatever its arguments are, or None."""
        if command in self._block:
            return "block-rpcs"
        if self._allow and command not in self._allow:
            return "allow-rpcs"
        return self._never.get(command)


def refusal(command: str, rule: str | None) -> CommandNotFound:
    """Return the error by which QEMU's agent refuses a command that may not run."""
    return CommandNotFound(f"Command {command} has been disabled: the command is not allowed", rule)


def _too_long(command: Command, arguments: Mapping[str, Any]) -> Target | None:
    """Return a target with the kernel's error if a path or an argument is too long for it, else None."""
    from qga.agent.linux import cstring, pathwalk

    try:
        if command.program is not None:
            cstring.check_program(arguments[command.program], arguments.get("arg"), arguments.get("env"))
        elif command.file is not None:
            cstring.check_path(arguments[command.file])
    except OSError as error:
        return pathwalk.Target(error)
    return None


def _target(command: Command, arguments: Mapping[str, Any]) -> Target:
    """Return the file to which a request's path leads."""
    from qga.agent.linux import execvp, pathwalk
    from qga.agent.linux.cstring import c_string

    if command.program is None:
        return pathwalk.resolve(c_string(arguments[command.file or ""]))
    return execvp.resolve_program(c_string(arguments[command.program]), execvp.environment(arguments.get("env")))
