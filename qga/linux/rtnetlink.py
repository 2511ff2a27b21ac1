"""The network interfaces and their addresses, as the kernel tells them in one dump each: rtnetlink(7).

No library is used: psutil leaves out an interface without addresses of any kind, mixes up the kernel's order and pads
what is not Ethernet; pyroute2 takes ten times as long to import and to parse.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
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
    """As /proc/net/dev counts: what was missed counts as dropped."""

    rx_bytes: int
    rx_packets: int
    rx_errs: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errs: int
    tx_dropped: int


class Link(NamedTuple):
    """``hardware_address``: as many bytes as its kind of network has, perhaps none."""

    ifindex: int
    name: str
    hardware_address: bytes
    statistics: Statistics | None


class Address(NamedTuple):
    """``label`` is the name that an IPv4 address was given; ``family`` is AF_INET or AF_INET6."""

    ifindex: int
    family: int
    address: bytes
    prefix: int
    label: str | None


def dump(request: int) -> list[bytes]:
    """The kernel's answer to RTM_GETLINK or RTM_GETADDR: datagrams of whole messages. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        for sequence in range(_TRIES):
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            kernel.send(_REQUEST.pack(_REQUEST.size, request, flags, sequence, 0, socket.AF_UNSPEC))
            datagrams, whole = _receive(kernel)
            if whole:
                break
        return datagrams


def _receive(kernel: socket.socket) -> tuple[list[bytes], bool]:
    """One answer, and whether nothing changed while it was made."""
    datagrams, whole = [], True
    while True:
        data = kernel.recv(_RECEIVE)
        datagrams.append(data)
        for kind, flags, offset, end in _messages(data):
            whole &= not flags & _NLM_F_DUMP_INTR
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                (error,) = _unpack(_ERROR, data, offset, end)
                if error < 0:
                    raise OSError(-error, os.strerror(-error))
                return datagrams, whole
        if not data:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def parse_links(datagrams: list[bytes]) -> list[Link]:
    """The interfaces, in the kernel's order. Raises OSError for what is cut short."""
    links = []
    for data, offset, end in _payloads(datagrams, RTM_GETLINK - 2):
        _, _, index, _, _ = _unpack(_LINK, data, offset, end)
        found = _attributes(data, offset + _LINK.size, end, (_IFLA_IFNAME, _IFLA_ADDRESS, _IFLA_STATS64))
        name = os.fsdecode(found.get(_IFLA_IFNAME, b"").rstrip(b"\0"))
        counted = found.get(_IFLA_STATS64)
        statistics = None if counted is None else _statistics(counted)
        links.append(Link(index, name, found.get(_IFLA_ADDRESS, b""), statistics))
    return links


def parse_addresses(datagrams: list[bytes]) -> list[Address]:
    """The IP addresses of this machine's own side, in the kernel's order. Raises OSError for what is cut short."""
    addresses = []
    for data, offset, end in _payloads(datagrams, RTM_GETADDR - 2):
        family, prefix, _, _, index = _unpack(_ADDRESS, data, offset, end)
        if family not in _ADDRESS_SIZES:
            continue
        found = _attributes(data, offset + _ADDRESS.size, end, (_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL))
        address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)  # where there is a peer, the latter is the peer's
        label = found.get(_IFA_LABEL)
        if address:
            if len(address) != _ADDRESS_SIZES[family]:
                raise _cut_short()
            name = None if label is None else os.fsdecode(label.rstrip(b"\0"))
            addresses.append(Address(index, family, address, prefix, name))
    return addresses


def _payloads(datagrams: list[bytes], kind: int) -> Iterator[tuple[bytes, int, int]]:
    """Where the payload of each message of this kind lies: datagram, start, end."""
    for data in datagrams:
        for found, _, offset, end in _messages(data):
            if found == kind:
                yield data, offset, end


def _messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The type and flags of each message of a datagram, and where its payload starts and ends."""
    offset = 0
    while offset < len(data):
        length, kind, flags, _, _ = _unpack(_HEADER, data, offset, len(data))
        end = offset + length
        if length < _HEADER.size or end > len(data):
            raise _cut_short()
        yield kind, flags, offset + _HEADER.size, end
        offset = end + 3 & ~3


def _attributes(data: bytes, offset: int, end: int, wanted: tuple[int, ...]) -> dict[int, bytes]:
    """The values of those that are ``wanted``: a link has dozens, and there may be many links."""
    found = {}
    unpack, size = _ATTRIBUTE.unpack_from, _ATTRIBUTE.size
    while offset < end:
        if offset + size > end:
            raise _cut_short()
        length, kind = unpack(data, offset)
        if length < size or offset + length > end:
            raise _cut_short()
        if kind in wanted:
            found[kind] = data[offset + size : offset + length]
            if len(found) == len(wanted):
                break
        offset += length + 3 & ~3
    return found


def _unpack(layout: struct.Struct, data: bytes, offset: int, end: int) -> tuple[int, ...]:
    if offset + layout.size > end:
        raise _cut_short()
    return layout.unpack_from(data, offset)


def _cut_short() -> OSError:
    return OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))


def _statistics(value: bytes) -> Statistics:
    numbers = _STATISTICS.unpack(value[: _STATISTICS.size].ljust(_STATISTICS.size, b"\0"))
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errs, tx_errs, rx_dropped, tx_dropped = numbers[:8]
    missed = numbers[15]
    return Statistics(rx_bytes, rx_packets, rx_errs, rx_dropped + missed, tx_bytes, tx_packets, tx_errs, tx_dropped)
