"""May this command run now? Decided from the owner's lists and the freeze state, before arguments are looked at.

While filesystems are frozen the commands that the schema allows then are permitted, and no other, whatever the lists
say: a host must always be able to thaw. Without the audit log that the owner requires, no other is permitted either.
"""

from __future__ import annotations

from collections.abc import Iterable

from qga.errors import CommandNotFound


class Policy:
    def __init__(
        self, allow: Iterable[str] = (), block: Iterable[str] = (), while_frozen: Iterable[str] = ()
    ) -> None:
        """An empty ``allow`` allows all; ``block`` takes away from that."""
        self._allow = frozenset(allow)
        self._block = frozenset(block)
        self._while_frozen = frozenset(while_frozen)
        self._frozen = False
        self._unrecorded = False

    def on_freeze(self, frozen: bool) -> None:
        """For FreezeState to call."""
        self._frozen = frozen

    def on_audit_failure(self, failing: bool) -> None:
        """For Audit to call, where the owner requires it."""
        self._unrecorded = failing

    def permits(self, command: str) -> bool:
        return self._refusal(command) is None

    def check(self, command: str) -> str | None:
        """The owner's rule that allows it, if any: for the audit log.

        Raises CommandNotFound, which is how QEMU refuses a command that may not run.
        """
        rule = self._refusal(command)
        if rule is not None:
            raise CommandNotFound(f"Command {command} has been disabled: the command is not allowed", rule)
        return "allow-rpcs" if self._allow and not self._frozen else None

    def _refusal(self, command: str) -> str | None:
        """The rule that forbids it."""
        if self._frozen:
            return None if command in self._while_frozen else "frozen"
        if self._unrecorded and command not in self._while_frozen:
            return "audit-required"
        if command in self._block:
            return "block-rpcs"
        return "allow-rpcs" if self._allow and command not in self._allow else None
