"""Work of several requests, without I/O: a generator yields what it wants done and is sent what came of it.

``Client`` and ``AsyncClient`` both carry the same steps out; an error, also KeyboardInterrupt or a cancelled task, is
thrown into the generator, which may still ask for what cleans up.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")
Ticket: TypeAlias = tuple[Any, int]  # a connection, and the number on it

# Seconds that suit a command where nobody says otherwise: what hosts allow it, Proxmox VE above all.
LONGER = {
    "guest-fsfreeze-freeze": 600.0,
    "guest-fsfreeze-freeze-list": 600.0,
    "guest-fsfreeze-thaw": 180.0,
    "guest-fstrim": 600.0,
    "guest-set-time": 60.0,
    "guest-set-vcpus": 60.0,
    "guest-set-memory-blocks": 60.0,
}
SETTLED = 5.0  # seconds: a command that is silent when it succeeds, and is still silent, has succeeded


class Ask(NamedTuple):
    """One command, and its value back."""

    command: str
    arguments: Mapping[str, Any] = {}
    timeout: float | None = None


class Submit(NamedTuple):
    """A command whose value is collected later, by the ticket that comes back."""

    command: str
    arguments: Mapping[str, Any]


class Write(NamedTuple):
    """As Submit, of guest-file-write; ``encoded`` is base64."""

    handle: int
    encoded: bytes


class Collect(NamedTuple):
    """The value of a ticket: of the connection that it was submitted on, never of a later one."""

    ticket: Ticket


class Pause(NamedTuple):
    seconds: float


class Limits(NamedTuple):
    """What the road carries comes back: bytes of one read, of one write, and how many may be under way."""

    read: int = 0
    write: int = 0
    window: int = 0


Step: TypeAlias = Ask | Submit | Write | Collect | Pause | Limits
Steps: TypeAlias = Generator[Step, Any, T]
