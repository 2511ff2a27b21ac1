"""The routing tables: /proc/net/route and /proc/net/ipv6_route, proc_pid_net(5)."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Literal, NamedTuple

from qga.agent.linux.numbers import number

IPV4, IPV6 = "/proc/net/route", "/proc/net/ipv6_route"


class Route4(NamedTuple):
    """A route of IPv4. Addresses are dotted; ``flags`` are RTF_* of linux/route.h."""

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
    """A route of IPv6. ``source`` and ``srcprefixlen`` are those of a source-specific route, mostly ``::`` and 0."""

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
    """Return the routes of all lines after the header that make sense.

    The kernel writes an address as the number that its bytes are to this machine.
    """

    def dotted(address: str) -> str:
        return socket.inet_ntop(socket.AF_INET, number(address, 16).to_bytes(4, byteorder))

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
                number(metric),
                number(flags, 16),
                number(refcnt),
                number(use),
                number(mtu),
                number(window),
                number(irtt),
            )
            routes.append(route)
    return routes


def parse_ipv6(text: str) -> list[Route6]:
    """Return the routes of all lines that make sense; every number in them is hexadecimal."""
    routes = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10:
            continue
        destination, desprefixlen, source, srcprefixlen, nexthop, *rest, iface = fields[:10]
        with contextlib.suppress(ValueError):
            metric, refcnt, use, flags = (number(digits, 16) for digits in rest)
            route = Route6(
                iface,
                _ipv6(destination),
                number(desprefixlen, 16),
                _ipv6(source),
                number(srcprefixlen, 16),
                _ipv6(nexthop),
                metric,
                flags,
                refcnt,
                use,
            )
            routes.append(route)
    return routes


def _ipv6(digits: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
