"""May this command run now? Decided from the owner's lists and the freeze state, before arguments are looked at.

While filesystems are frozen the commands that the schema allows then are permitted, and no other, whatever the lists
say: a host must always be able to thaw.
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

    def on_freeze(self, frozen: bool) -> None:
        """For FreezeState to call."""
        self._frozen = frozen

    def permits(self, command: str) -> bool:
        if self._frozen:
            return command in self._while_frozen
        return command not in self._block and (not self._allow or command in self._allow)

    def check(self, command: str) -> None:
        """Raises CommandNotFound, which is how QEMU refuses a command that may not run."""
        if not self.permits(command):
            raise CommandNotFound(f"Command {command} has been disabled: the command is not allowed")
