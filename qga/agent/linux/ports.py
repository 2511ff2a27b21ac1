"""Where a virtio-serial port of a given name is, also where udev makes no link for it."""

from __future__ import annotations

import os

from qga.agent.linux.host import Host

_CLASS = "/sys/class/virtio-ports"
_LINKS = "/dev/virtio-ports/"


def find_port(host: Host, path: str) -> str:
    """Return the device to open for ``path``.

    udev links /dev/virtio-ports/NAME to the device of the port that the host named NAME; where that link is
    missing, the kernel still has the name, in /sys/class/virtio-ports/vportNpM/name. Returns ``path`` itself where
    it exists, is not such a link, or no port has the name.
    """
    if not path.startswith(_LINKS) or os.path.exists(host.path(path)):
        return path
    wanted = path.removeprefix(_LINKS)
    try:
        ports = sorted(os.listdir(host.path(_CLASS)))
    except OSError:
        return path
    for port in ports:
        try:
            if host.read(f"{_CLASS}/{port}/name").strip() == wanted:
                return f"/dev/{port}"
        except OSError:
            continue
    return path
