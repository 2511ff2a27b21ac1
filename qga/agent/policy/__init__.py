"""May this command run now? Decided from the owner's lists and rules, and the freeze state.

Lists and rules both have to allow it. What no arguments could make allowed is refused before they are looked at;
where the rules ask for arguments, ``decide`` looks at them, and holds the file that they name: what was decided about
is what is opened or executed.

While filesystems are frozen the commands that the schema allows then are permitted, and no other, whatever the lists
and rules say: a host must always be able to thaw. Without the audit log that the owner requires, no other is either.
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
    """``rule`` says what decided. ``target`` is the file that a rule looked at, to be closed; None if none did."""

    def __init__(self, allowed: bool, rule: str, target: Target | None = None) -> None:
        self.allowed = allowed
        self.rule = rule
        self.target = target


class Policy:
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
        """An empty ``allow`` allows all; ``block`` takes away from that. Without ``rules`` only these count.

        ``by_argument`` has the rules of the commands whose arguments decide.
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
        """For FreezeState to call."""
        self._frozen = frozen

    def on_audit_failure(self, failing: bool) -> None:
        """For Audit to call, where the owner requires it."""
        self._unrecorded = failing

    def permits(self, command: str) -> bool:
        """Whether any arguments could make it allowed."""
        return self._refusal(command) is None

    def check(self, command: str) -> str | None:
        """The owner's rule that allows it whatever its arguments are, if there is one.

        Raises CommandNotFound, which is how QEMU refuses a command that may not run.
        """
        rule = self._refusal(command)
        if rule is not None:
            raise refusal(command, rule)
        return self._decided.get(command) or ("allow-rpcs" if self._allow and not self._frozen else None)

    def decide(self, command: Command, arguments: Mapping[str, Any], defaults: Mapping[str, object]) -> Decision:
        """What the rules say of valid arguments; ``defaults``: what those count as that were not given.

        No rule looks at what is longer than the kernel takes. It fails with the kernel's error, which the target has.
        """
        too_long = _too_long(command, arguments)
        if too_long is not None:
            return Decision(True, f"no rule is asked: {too_long.error and too_long.error.strerror}", too_long)
        named = command.file or command.program or ""
        target, seen = None, arguments
        for rule in self.by_argument[command.name]:
            if target is None and named in rule.constraints:
                target = _target(command, arguments)
                seen = {**arguments, named: target.path}
            if rule.matches(seen, defaults):
                break
        return Decision(rule.allow, rule.where, target)

    def review(self, command: Command, asked: Mapping[str, Any] | None, path: str) -> str | None:
        """The rule that would refuse now what was allowed once, or None.

        ``asked`` has its arguments, all that count; None where they were too many to be kept, and then a rule that
        wants to know one refuses. ``path`` is that of the file itself.
        """
        forbidden = self._forbidden(command.name)
        if forbidden is not None:
            return forbidden
        named = command.file or command.program or ""
        seen = {**(asked or {}), named: path}
        for rule in self.by_argument.get(command.name, ()):
            if asked is None and rule.constraints.keys() - {named}:
                return f"{rule.where}, which asks for arguments that were too large to be kept"
            if rule.matches(seen, {}):
                return None if rule.allow else rule.where
        return None

    def _refusal(self, command: str) -> str | None:
        """The rule that forbids it now."""
        if self._frozen:
            return None if command in self._while_frozen else "frozen"
        if self._unrecorded and command not in self._while_frozen:
            return "audit-required"
        return self._forbidden(command)

    def _forbidden(self, command: str) -> str | None:
        """The owner's rule that forbids it, whatever its arguments are."""
        if command in self._block:
            return "block-rpcs"
        if self._allow and command not in self._allow:
            return "allow-rpcs"
        return self._never.get(command)


def refusal(command: str, rule: str | None) -> CommandNotFound:
    return CommandNotFound(f"Command {command} has been disabled: the command is not allowed", rule)


def _too_long(command: Command, arguments: Mapping[str, Any]) -> Target | None:
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
    """What the path of a request leads to."""
    from qga.agent.linux import pathwalk, programs
    from qga.agent.linux.cstring import c_string

    if command.program is None:
        return pathwalk.resolve(c_string(arguments[command.file or ""]))
    return programs.resolve_program(c_string(arguments[command.program]), programs.environment(arguments.get("env")))
