"""The protocols between systemd and a service: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, MutableMapping

from qga.agent.linux.numbers import number

_FIRST_DESCRIPTOR = 3


class ActivationError(Exception):
    """systemd passed something that the agent cannot listen on."""


def inherited_socket(environ: MutableMapping[str, str]) -> socket.socket | None:
    """Return the listening socket that systemd passed to this process, or None, and remove its variables.

    Raises ActivationError unless it is one stream socket, of AF_UNIX or AF_VSOCK.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise ActivationError("qemu-ga only supports listening on one socket")
    try:
        os.set_inheritable(_FIRST_DESCRIPTOR, False)
        sock = socket.socket(fileno=_FIRST_DESCRIPTOR)
    except OSError as error:
        raise ActivationError(f"descriptor 3 is not a socket: {error.strerror}") from error
    if sock.family not in (socket.AF_UNIX, socket.AF_VSOCK) or sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise ActivationError("unsupported listen fd type")
    return sock


class Notifier:
    """A sender of states ("READY=1") to systemd, by sd_notify(3); it does nothing where systemd does not listen.

    Its socket is open from the start: an agent that has no more descriptors must still notify the watchdog.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if address else None

    def __call__(self, state: str) -> None:
        """Send a state. An error is ignored: the agent goes on without systemd."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(state.encode(), self._address)

    def close(self) -> None:
        """Close the socket, if there is one. No state can be sent after that."""
        if self._socket is not None:
            self._socket.close()


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return the seconds within which systemd must be notified, or None: sd_watchdog_enabled(3)."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = number(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 else None
