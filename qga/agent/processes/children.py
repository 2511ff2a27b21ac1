"""The agent's children: spawns programs that run beside the agent, and reaps every child that ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from qga.agent.processes.child import CHANGEABLE


class Children:
    """The programs that the agent spawned and has not seen end."""

    def __init__(self) -> None:
        self._on_exit: dict[int, Callable[[int], None]] = {}

    def __len__(self) -> int:
        return len(self._on_exit)

    def spawn(
        self,
        path: str | bytes,
        argv: list[str] | list[bytes],
        env: Mapping[str, str] | Mapping[bytes, bytes],
        stdio: tuple[int, int, int],
        on_exit: Callable[[int], None],
        keep: Iterable[int] = (),
    ) -> int:
        """Start a program with these three descriptors as its standard ones, and those to ``keep``; returns its pid.

        ``on_exit`` gets its wait status (waitpid(2)) when it has been reaped. Raises OSError if it cannot be started.
        """
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(stdio)]
        actions += [(os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in keep]  # it clears close-on-exec
        pid = os.posix_spawn(path, argv, env, file_actions=actions, setsigdef=CHANGEABLE, setsigmask=())
        self._on_exit[pid] = on_exit
        return pid

    def reap(self) -> None:
        """Collect every dead child, until none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._on_exit.pop(pid, _discard)(status)


def _discard(status: int) -> None:
    """Ignore the status of a helper's or a worker's process: its report says all."""
