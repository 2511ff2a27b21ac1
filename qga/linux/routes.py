"""The routing tables: /proc/net/route and /proc/net/ipv6_route, proc_pid_net(5)."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Literal, NamedTuple

IPV4, IPV6 = "/proc/net/route", "/proc/net/ipv6_route"


class Route4(NamedTuple):
    """Addresses are dotted; ``flags`` are RTF_* of linux/route.h."""

    iface: str
    destination: str
    gateway: str
    mask: str
    metric: int
    flags: int
    refcnt: int
    use: int
    mtu: int
    window: int
    irtt: int


class Route6(NamedTuple):
    """``source`` and ``srcprefixlen`` are those of a source-specific route, mostly ``::`` and 0."""

    iface: str
    destination: str
    desprefixlen: int
    source: str
    srcprefixlen: int
    nexthop: str
    metric: int
    flags: int
    refcnt: int
    use: int


def parse_ipv4(text: str, byteorder: Literal["little", "big"] = sys.byteorder) -> list[Route4]:
    """All lines after the header that make sense.

    The kernel writes an address as the number that its bytes are to this machine.
    """

    def dotted(number: str) -> str:
        return socket.inet_ntop(socket.AF_INET, int(number, 16).to_bytes(4, byteorder))

    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 11:
            continue
        iface, destination, gateway, flags, refcnt, use, metric, mask, mtu, window, irtt = fields[:11]
        with contextlib.suppress(ValueError, OverflowError):
            route = Route4(
                iface,
                dotted(destination),
                dotted(gateway),
                dotted(mask),
                int(metric),
                _hexadecimal(flags),
                int(refcnt),
                int(use),
                int(mtu),
                int(window),
                int(irtt),
            )
            routes.append(route)
    return routes


def parse_ipv6(text: str) -> list[Route6]:
    """All lines that make sense; every number in them is hexadecimal."""
    routes = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10:
            continue
        destination, desprefixlen, source, srcprefixlen, nexthop, *rest, iface = fields[:10]
        with contextlib.suppress(ValueError):
            metric, refcnt, use, flags = map(_hexadecimal, rest)
            route = Route6(
                iface,
                _ipv6(destination),
                _hexadecimal(desprefixlen),
                _ipv6(source),
                _hexadecimal(srcprefixlen),
                _ipv6(nexthop),
                metric,
                flags,
                refcnt,
                use,
            )
            routes.append(route)
    return routes


def _hexadecimal(digits: str) -> int:
    """Raises ValueError, also for a number so long that no reply could tell it."""
    if len(digits) > 16:
        raise ValueError(digits)
    return int(digits, 16)


def _ipv6(digits: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
