"""A process tree: a child of the agent with all its descendants, to send them signals.

The rule it keeps: no other process ever gets the signal. A child that was not reaped keeps its number; its
descendants are held by descriptors, pidfd_open(2), and one of them that is gone is not signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal


class ProcessTree:
    """A child that was not reaped yet, and its descendants. To be closed."""

    def __init__(self, child: int) -> None:
        self.child = child
        self._held: dict[int, int] = {}  # descriptors of descendants, by their numbers

    def signal(self, number: int, *, reaped: bool = False) -> None:
        """Send a signal to the child, unless that was ``reaped``, and to every descendant seen now or before.

        A process whose parent has ended is not a descendant any more, unless it was seen when it was.
        """
        if not reaped:
            self._look()
            with contextlib.suppress(OSError):
                os.kill(self.child, number)
        for descriptor in self._held.values():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(descriptor, number)

    def close(self) -> None:
        """Close the descriptors of all descendants."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _look(self) -> None:
        found = [self.child]
        for parent in found:
            for pid in _children(parent):
                found.append(pid)
                if pid not in self._held:
                    with contextlib.suppress(OSError):  # it has ended, or the kernel is older than 5.3
                        self._held[pid] = os.pidfd_open(pid)


def _children(pid: int) -> list[int]:
    """Return the children of all threads of a process: proc(5), /proc/pid/task/tid/children.

    The list is empty if the process has ended or the kernel does not provide the file.
    """
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found
