"""The channel through which a host reaches the agent: one per process, of the configured method."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Protocol

from qga.agent.channel.listener import Listener, listen_unix, listen_vsock
from qga.agent.channel.peers import Peers
from qga.agent.channel.serial import open_serial
from qga.agent.channel.stream import NewSession
from qga.agent.channel.virtio import open_port
from qga.agent.linux.host import Host
from qga.agent.loop import Loop

__all__ = ["Channel", "ChannelError", "Peers", "open_channel"]


class Channel(Protocol):
    """An open channel, of any method."""

    def close(self) -> None:
        """Stop serving the host, and close all descriptors."""


class ChannelError(Exception):
    """The channel cannot be opened; the text says which and why.

    ``busy``: another process holds the port, which has room for one; it will be free when that has ended.
    """

    def __init__(self, text: str, *, busy: bool = False) -> None:
        super().__init__(text)
        self.busy = busy


def open_channel(
    loop: Loop,
    host: Host,
    method: str,
    path: str,
    new_session: NewSession,
    on_lost: Callable[[str], None],
    inherited: socket.socket | None = None,
    admits: Callable[[socket.socket], bool] = lambda connection: True,
) -> Channel:
    """Open the channel that ``method`` and ``path`` name, or serve a listening socket that was ``inherited``.

    ``on_lost`` is called with the reason when the channel itself, not only its peer, is gone. ``admits`` says
    whether a client of a socket may stay. Raises ChannelError.
    """
    if inherited is not None:
        return Listener(loop, inherited, new_session, admits)
    try:
        if method == "virtio-serial":
            return open_port(loop, host, path, new_session, on_lost)
        if method == "isa-serial":
            return open_serial(loop, path, new_session, on_lost)
        if method == "unix-listen":
            return Listener(loop, listen_unix(path), new_session, admits)
        cid, port = path.split(":")
        return Listener(loop, listen_vsock(int(cid), int(port)), new_session, admits)
    except OSError as error:
        text = f"error opening channel '{path}': {error.strerror or error}"
        raise ChannelError(text, busy=error.errno == errno.EBUSY) from error
