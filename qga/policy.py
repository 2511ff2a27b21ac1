"""May this command run now? Decided from the owner's lists; the dispatcher asks before it looks at arguments."""

from __future__ import annotations

from collections.abc import Iterable

from qga.errors import CommandNotFound


class Policy:
    def __init__(self, allow: Iterable[str] = (), block: Iterable[str] = ()) -> None:
        """An empty ``allow`` allows all; ``block`` takes away from that."""
        self._allow = frozenset(allow)
        self._block = frozenset(block)

    def permits(self, command: str) -> bool:
        return command not in self._block and (not self._allow or command in self._allow)

    def check(self, command: str) -> None:
        """Raises CommandNotFound, which is how QEMU refuses a command that may not run."""
        if not self.permits(command):
            raise CommandNotFound(f"Command {command} has been disabled: the command is not allowed")
