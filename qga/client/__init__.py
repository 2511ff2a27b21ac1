"""Drive a QEMU guest agent from the host: ours, or QEMU's own.

    from qga.client import Client

    with Client("unix:/run/agent.sock") as guest:
        for filesystem in guest.guest_get_fsinfo():
            print(filesystem.mountpoint, filesystem.used_bytes)
        print(guest.run(["uname", "-a"], text=True).stdout)

Names are imported when first used: what pings needs no asyncio, and the tool's entry nothing at all.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own; importing that takes longer than the rest of the entry

_HOMES = {
    "Client": "client",
    "AsyncClient": "aio",
    "AsyncFreeze": "freezing",
    "AsyncGuestFile": "files",
    "AddressError": "errors",
    "AgentTimeout": "errors",
    "AgentUnreachable": "errors",
    "ClientError": "errors",
    "CommandFailed": "errors",
    "CommandNotFound": "errors",
    "MalformedReply": "errors",
    "OutOfStep": "errors",
    "Freeze": "freezing",
    "GuestFile": "files",
    "Completed": "operations.run",
    "Outcome": "operations.outcome",
    "Session": "session",
    "TreeEntry": "operations.listing",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from qga.client.aio import AsyncClient as AsyncClient
    from qga.client.client import Client as Client
    from qga.client.errors import AddressError as AddressError
    from qga.client.errors import AgentTimeout as AgentTimeout
    from qga.client.errors import AgentUnreachable as AgentUnreachable
    from qga.client.errors import ClientError as ClientError
    from qga.client.errors import CommandFailed as CommandFailed
    from qga.client.errors import CommandNotFound as CommandNotFound
    from qga.client.errors import MalformedReply as MalformedReply
    from qga.client.errors import OutOfStep as OutOfStep
    from qga.client.files import AsyncGuestFile as AsyncGuestFile
    from qga.client.files import GuestFile as GuestFile
    from qga.client.freezing import AsyncFreeze as AsyncFreeze
    from qga.client.freezing import Freeze as Freeze
    from qga.client.operations.listing import TreeEntry as TreeEntry
    from qga.client.operations.outcome import Outcome as Outcome
    from qga.client.operations.run import Completed as Completed
    from qga.client.session import Session as Session


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'qga.client' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"qga.client.{_HOMES[name]}"), name)
