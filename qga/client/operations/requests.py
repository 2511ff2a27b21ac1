"""What an operation asks of the client that carries it out: each request is awaited, and gives what came of it.

An operation is a coroutine that awaits these requests, and other operations, and nothing else: it does no I/O of its
own, and so the blocking client and the one for asyncio carry out the same. An error is raised where the request was
awaited, KeyboardInterrupt and a task's cancellation included; the operation may still make requests that clean up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from qga.client.connection import Connection, Limits
from qga.client.errors import CommandFailed

T = TypeVar("T")
Operation: TypeAlias = Coroutine[Any, Any, T]


TIMEOUT = 30.0  # seconds that a command has where nobody says otherwise
# Or these, which suit it: what hosts allow it, Proxmox VE above all.
LONGER = {
    "guest-fsfreeze-freeze": 600.0,
    "guest-fsfreeze-freeze-list": 600.0,
    "guest-fsfreeze-thaw": 180.0,
    "guest-fstrim": 600.0,
    "guest-set-time": 60.0,
    "guest-set-vcpus": 60.0,
    "guest-set-memory-blocks": 60.0,
}


class Client(Protocol):
    """A client that blocks until an operation has ended."""

    def carry_out(self, operation: Awaitable[T]) -> T:
        """Do what an operation requests, one after the other; return its result."""


class AsyncClient(Protocol):
    """A client for asyncio."""

    async def carry_out(self, operation: Awaitable[T]) -> T:
        """Do what an operation requests, one after the other; return its result."""


class Request(Generic[T]):
    """Awaiting a request hands it to the client, and returns a T."""

    def __await__(self) -> Generator[Request[T], T, T]:
        return (yield self)


class Ask(Request[T]):
    """One command; its return value. ``timeout``: seconds, by default what the client allows the command."""

    def __init__(self, command: str, arguments: Mapping[str, Any] = {}, timeout: float | None = None) -> None:
        self.command, self.arguments, self.timeout = command, arguments, timeout


class Pause(Request[None]):
    """Nothing, for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Connected(Request[Connection]):
    """The connection, on which the agent has answered. ``timeout``: seconds to make one in, where there is none."""

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout


class Disconnect(Request[None]):
    """The end of the connection: the next request makes another one."""


class Ticket(Request[T]):
    """The return value of a command that was submitted, on the connection that it was sent on and no later one."""

    def __init__(self, connection: Connection, number: int, timeout: float | None = None) -> None:
        self.connection, self.number, self.timeout = connection, number, timeout


async def submit(
    command: str, arguments: Mapping[str, Any] = {}, timeout: float | None = None, *, silent: bool = False
) -> Ticket[Any]:
    """Send a command now; return the ticket to await for its value, which has ``timeout`` seconds then."""
    connection = await Connected(timeout)
    return Ticket(connection, connection.submit(command, arguments, silent=silent), timeout)


async def limits() -> Limits:
    """Return how much the connection carries."""
    return (await Connected()).limits


def allowed(command: str, timeout: float | None, default: float | None) -> float:
    """Return the seconds that a command has: what the call says, else the client's default, else what suits it."""
    if timeout is None:
        timeout = default
    return LONGER.get(command, TIMEOUT) if timeout is None else timeout


async def together(commands: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Any]:
    """Send all commands at once; return their values in order, and the CommandFailed of those that failed."""
    tickets = [await submit(command, arguments) for command, arguments in commands]
    values = []
    for ticket in tickets:
        try:
            values.append(await ticket)
        except CommandFailed as error:
            values.append(error)
    return values
