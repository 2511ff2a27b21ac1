"""virtio-serial: the port stays open while hosts connect and disconnect."""

from __future__ import annotations

import os
from collections.abc import Callable

from qga.agent.channel.stream import NewSession, Stream
from qga.agent.linux.host import Host
from qga.agent.linux.ports import find_port
from qga.agent.loop import Loop


def open_port(loop: Loop, host: Host, path: str, new_session: NewSession, on_lost: Callable[[str], None]) -> Stream:
    """Open the virtio port. ``on_lost`` is called when it vanishes (hot-unplug). Raises OSError."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(host.path(find_port(host, path)), flags)
    return Stream(loop, descriptor, new_session, on_lost, persistent=True)
