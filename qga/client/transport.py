"""Addresses, the byte streams that they lead to, which never block, and the bytes of a connection over one.

``unix:/path`` or a bare path, ``tcp:host:port``, ``serial:/dev/pts/N``, ``vsock:CID:PORT`` are streams;
``libvirt:DOMAIN`` and ``libvirt+ssh://[user@]host/DOMAIN`` carry whole commands (``qga.client.libvirt``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import NamedTuple, Protocol

from qga.client.connection import Connection
from qga.client.errors import AddressError, AgentUnreachable, ClientError

ENVIRONMENT = "QGA_CONNECT"
FORMS = "unix:/path, tcp:host:port, serial:/dev/…, vsock:CID:PORT, libvirt:DOMAIN or libvirt+ssh://[user@]host/DOMAIN"

READ = 1024 * 1024  # bytes asked of one read
_BUFFER = 4 * 1024 * 1024  # bytes asked for a socket's buffers; the kernel gives what it allows

_REASONS = {
    errno.ENOENT: "there is nothing at this path: does the guest run?",
    errno.ECONNREFUSED: "nobody listens there: the guest does not run, or another client holds its socket",
    errno.EAGAIN: "too many clients wait there already: another one holds the socket",
    errno.EACCES: "permission denied: the file belongs to somebody else, such as root or libvirt's user",
    errno.ENODEV: "there is no such device: is vsock loaded, and does the guest run?",
    errno.ETIMEDOUT: "the connection was not accepted in time",
}


class Address(NamedTuple):
    """``kind``: unix, tcp, serial, vsock, libvirt. ``place``: the path, or the domain.

    Of libvirt, ``host`` is the connection URI, empty for the default one.
    """

    kind: str
    place: str
    host: str = ""
    port: int = 0
    text: str = ""


class Stream(Protocol):
    """An open socket or serial port."""

    def fileno(self) -> int:
        """Return the descriptor, which does not block."""

    def close(self) -> None:
        """Close the descriptor."""


class StreamConnection(Connection):
    """Sends and receives what the stream has room for and holds, and never waits.

    ``blocked``: whether something is to be sent for which there was no room.
    """

    def __init__(self, address: str, stream: Stream) -> None:
        super().__init__(address)
        self.blocked = False
        self._stream, self._descriptor = stream, stream.fileno()

    def flush(self) -> None:
        """Send what the stream takes now; an error closes the connection."""
        if not self.closed:
            try:
                self.blocked = not self.send(self._write)
            except OSError as error:
                self._lose(error)

    def read(self) -> None:
        """Take what has come; a stream that has ended closes the connection."""
        try:
            data = os.read(self._descriptor, READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self.receive(data)
            self.flush()
        else:
            self._lose(None)

    def close(self, error: ClientError | None = None) -> None:
        """Close the stream; what is under way fails with ``error``."""
        if not self.closed:
            super().close(error)
            self._stream.close()

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0

    def _lose(self, error: OSError | None) -> None:
        why = f": {error.strerror}" if error else ""
        self.close(AgentUnreachable(f"{self.address}: the other side closed the connection{why}"))


def parse(text: str | None = None) -> Address:
    """Return the address that a text means, by default that of $QGA_CONNECT. Raises AddressError."""
    if text is None:
        text = os.environ.get(ENVIRONMENT, "")
        if not text:
            raise AddressError(f"no address: give one, or set ${ENVIRONMENT}: {FORMS}")
    kind, colon, rest = text.partition(":")
    if text.startswith(("/", "./", "../")) or not colon:
        kind, rest = "unix", text
    if kind == "libvirt+ssh":
        return _libvirt_ssh(text, rest)
    if not rest or "\0" in rest:
        raise AddressError(f"{text!r} is not an address: expected {FORMS}")
    if kind in ("unix", "serial", "libvirt"):
        return Address(kind, rest, text=text)
    host, _, port = rest.rpartition(":")
    bound = {"tcp": 2**16, "vsock": 2**32}.get(kind)
    if bound is None:
        raise AddressError(f"{text!r}: {kind!r} is not a kind of address: expected {FORMS}")
    if not host or not _is_number(port, bound) or (kind == "vsock" and not _is_number(host, 2**32)):
        form = "tcp:host:port" if kind == "tcp" else "vsock:CID:PORT, two numbers"
        raise AddressError(f"{text!r} is not an address: expected {form}")
    return Address(kind, "", host.removeprefix("[").removesuffix("]"), int(port), text)


def open_stream(address: Address, timeout: float) -> Stream:
    """Connect within ``timeout`` seconds. Raises AgentUnreachable, AddressError."""
    try:
        if address.kind == "serial":
            return _open_serial(address)
        return _connect(address, timeout)
    except TimeoutError:
        raise AgentUnreachable(f"{address.text}: {_REASONS[errno.ETIMEDOUT]}") from None
    except UnicodeError:  # idna refuses it
        raise AddressError(f"{address.text!r}: {address.host!r} is not a valid host name") from None
    except OSError as error:
        why = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        raise AgentUnreachable(f"{address.text}: {why}") from error


def _connect(address: Address, timeout: float) -> socket.socket:
    if address.kind == "tcp":
        sock = socket.create_connection((address.host, address.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        family = socket.AF_UNIX if address.kind == "unix" else socket.AF_VSOCK
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address.place if address.kind == "unix" else (int(address.host), address.port))
        except BaseException:
            sock.close()
            raise
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    sock.setblocking(False)
    return sock


def _open_serial(address: Address) -> Stream:
    try:
        import serial
    except ImportError:
        raise AddressError(f"{address.text}: a serial line needs pyserial: pip install 'qga[host]'") from None
    try:
        port = serial.Serial(address.place, timeout=0, write_timeout=0, exclusive=True)
    except serial.SerialException as error:
        busy = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
        why = "another client holds it" if busy else _REASONS.get(error.errno or 0) or str(error)
        raise AgentUnreachable(f"{address.text}: {why}") from error
    stream: Stream = port
    os.set_blocking(stream.fileno(), False)
    return stream


def _libvirt_ssh(text: str, rest: str) -> Address:
    host, slash, domain = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or not host or not slash or not domain or host.startswith("-"):
        raise AddressError(f"{text!r} is not an address: expected libvirt+ssh://[user@]host/DOMAIN")
    return Address("libvirt", domain, f"qemu+ssh://{host}/system", text=text)


def _is_number(text: str, bound: int) -> bool:
    return text.isascii() and text.isdecimal() and int(text) < bound
