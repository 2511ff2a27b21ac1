"""The network interfaces and their addresses, which the kernel gives in one dump each: rtnetlink(7).

No library is used: psutil leaves out an interface without addresses of any kind, mixes up the kernel's order and pads
what is not Ethernet; pyroute2 takes ten times as long to import and to parse.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import NamedTuple

RTM_GETLINK, RTM_GETADDR = 18, 22

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x10, 0x300

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=IHHIIB3x")  # the same, and rtgenmsg: family
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_ERROR = struct.Struct("=i")  # nlmsgerr, and what ends a dump
_STATISTICS = struct.Struct("=24Q")  # rtnl_link_stats64, of which older kernels have 23

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_STATS64 = 1, 3, 23
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3

_ADDRESS_SIZES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}

_RECEIVE = 64 * 1024  # bytes; the kernel fills at most 32 KiB of it, or one message, which is never so large
_TRIES = 10  # a dump during which something changed is asked for again


class Statistics(NamedTuple):
    """Counters as in /proc/net/dev: what was missed counts as dropped."""

    rx_bytes: int
    rx_packets: int
    rx_errs: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errs: int
    tx_dropped: int


class Link(NamedTuple):
    """An interface. ``hardware_address`` has as many bytes as its kind of network, perhaps none."""

    ifindex: int
    name: str
    hardware_address: bytes
    statistics: Statistics | None


class Address(NamedTuple):
    """An address. ``label`` is the name that an IPv4 address was given; ``family`` is AF_INET or AF_INET6."""

    ifindex: int
    family: int
    address: bytes
    prefix: int
    label: str | None


def dump(request: int) -> list[bytes]:
    """Return the payloads of the kernel's answer to RTM_GETLINK or RTM_GETADDR, one a message. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        for sequence in range(_TRIES):
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            kernel.send(_REQUEST.pack(_REQUEST.size, request, flags, sequence, 0, socket.AF_UNSPEC))
            payloads, whole = _receive(kernel, request - 2)  # RTM_NEWLINK answers RTM_GETLINK
            if whole:
                break
        return payloads


def _receive(kernel: socket.socket, answer: int) -> tuple[list[bytes], bool]:
    """Return one answer, and whether nothing changed while it was made."""
    payloads, whole = [], True
    while data := kernel.recv(_RECEIVE):
        for kind, flags, payload in messages(data):
            whole &= not flags & _NLM_F_DUMP_INTR
            if kind == answer:
                payloads.append(payload)
            elif kind in (_NLMSG_DONE, _NLMSG_ERROR):
                (error,) = _unpack(_ERROR, payload)
                if error < 0:
                    raise OSError(-error, os.strerror(-error))
                return payloads, whole
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def messages(data: bytes) -> list[tuple[int, int, bytes]]:
    """Give type, flags and payload of each message of a datagram. Raises OSError for what is cut short."""
    found, offset, size = [], 0, _HEADER.size
    while offset < len(data):
        if offset + size > len(data):
            raise _cut_short()
        length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
        end = offset + length
        if length < size or end > len(data):
            raise _cut_short()
        found.append((kind, flags, data[offset + size : end]))
        offset = end + 3 & ~3
    return found


def parse_link(payload: bytes) -> Link:
    """Return the interface of an RTM_NEWLINK. Raises OSError for what is cut short."""
    _, _, index, _, _ = _unpack(_LINK, payload)
    found = _attributes(payload, _LINK.size, (_IFLA_IFNAME, _IFLA_ADDRESS, _IFLA_STATS64))
    name = os.fsdecode(found.get(_IFLA_IFNAME, b"").rstrip(b"\0"))
    counted = found.get(_IFLA_STATS64)
    return Link(index, name, found.get(_IFLA_ADDRESS, b""), None if counted is None else _statistics(counted))


def parse_address(payload: bytes) -> Address | None:
    """Return the IP address of an RTM_NEWADDR, of this machine's own side; None for another kind. Raises OSError."""
    family, prefix, _, _, index = _unpack(_ADDRESS, payload)
    if family not in _ADDRESS_SIZES:
        return None
    found = _attributes(payload, _ADDRESS.size, (_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL))
    address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)  # where there is a peer, the latter is the peer's
    if not address:
        return None
    if len(address) != _ADDRESS_SIZES[family]:
        raise _cut_short()
    label = found.get(_IFA_LABEL)
    return Address(index, family, address, prefix, None if label is None else os.fsdecode(label.rstrip(b"\0")))


def _attributes(payload: bytes, offset: int, wanted: tuple[int, ...]) -> dict[int, bytes]:
    """Return the values of the ``wanted`` attributes: a link has dozens, and there may be many links."""
    found: dict[int, bytes] = {}
    unpack, size, end = _ATTRIBUTE.unpack_from, _ATTRIBUTE.size, len(payload)
    while offset < end and len(found) < len(wanted):
        if offset + size > end:
            raise _cut_short()
        length, kind = unpack(payload, offset)
        if length < size or offset + length > end:
            raise _cut_short()
        if kind in wanted:
            found[kind] = payload[offset + size : offset + length]
        offset += length + 3 & ~3
    return found


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < layout.size:
        raise _cut_short()
    return layout.unpack_from(payload)


def _cut_short() -> OSError:
    return OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))


def _statistics(value: bytes) -> Statistics:
    numbers = _STATISTICS.unpack(value[: _STATISTICS.size].ljust(_STATISTICS.size, b"\0"))
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errs, tx_errs, rx_dropped, tx_dropped = numbers[:8]
    missed = numbers[15]
    return Statistics(rx_bytes, rx_packets, rx_errs, rx_dropped + missed, tx_bytes, tx_packets, tx_errs, tx_dropped)
