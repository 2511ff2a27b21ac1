"""The guest's network: its interfaces and its routes."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from fnmatch import fnmatchcase

from qga.agent.context import Context
from qga.agent.linux import routes, rtnetlink
from qga.agent.linux.rtnetlink import RTM_GETADDR, RTM_GETLINK, Address, Link, Statistics
from qga.protocol.errors import CommandError

_TYPES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
_STATISTICS = tuple(name.replace("_", "-") for name in Statistics._fields)
_HARDWARE_ADDRESS = 6  # bytes in a reply, whatever the kind of network, as with SIOCGIFHWADDR and QEMU's agent


def guest_network_get_interfaces(ctx: Context) -> list[dict[str, object]]:
    """Return the kernel's interfaces with their addresses and counters: rtnetlink(7).

    An IPv4 address whose label is not the name of its interface, such as ``eth0:1``, is an entry of its own.
    Interfaces in ``exclude-nics`` are left out, and those in ``primary-nics`` come first.
    """
    try:
        links = [rtnetlink.parse_link(payload) for payload in ctx.host.rtnetlink(RTM_GETLINK)]
        addresses = [rtnetlink.parse_address(payload) for payload in ctx.host.rtnetlink(RTM_GETADDR)]
    except OSError as error:
        raise CommandError(f"getifaddrs failed: {error.strerror}") from error
    config = ctx.config
    links = [link for link in links if _first_match(link.name, config.exclude_nics) is None]
    interfaces = {link.name: _interface(link.name, link) for link in links}
    by_index = {link.ifindex: link for link in links}
    for address in addresses:
        link = address and by_index.get(address.ifindex)
        if address is None or link is None:
            continue  # its interface appeared after the links were listed, or is in exclude-nics
        name = address.label or link.name
        if name != link.name and _first_match(name, config.exclude_nics) is not None:
            continue
        interface = interfaces.setdefault(name, _interface(name, link))
        interface.setdefault("ip-addresses", []).append(_address(address))  # type: ignore[attr-defined]
        if name == link.name and link.statistics is not None:
            interface.setdefault("statistics", _statistics(link.statistics))
    order = (
        sorted(interfaces, key=lambda name: _rank(name, config.primary_nics)) if config.primary_nics else interfaces
    )
    return [interfaces[name] for name in order]


def _first_match(name: str, globs: Sequence[str]) -> int | None:
    """Return the index of the first pattern that a name matches, or None: fnmatch(3)."""
    return next((number for number, glob in enumerate(globs) if fnmatchcase(name, glob)), None)


def _rank(name: str, primary: Sequence[str]) -> int:
    """Return a sort key: primary interfaces in the order of their patterns, then the rest in their own order."""
    number = _first_match(name, primary)
    return len(primary) if number is None else number


def _interface(name: str, link: Link) -> dict[str, object]:
    hardware = link.hardware_address[:_HARDWARE_ADDRESS].ljust(_HARDWARE_ADDRESS, b"\0")
    return {"name": name, "hardware-address": hardware.hex(":")}


def _address(address: Address) -> dict[str, object]:
    return {
        "ip-address": socket.inet_ntop(address.family, address.address),
        "ip-address-type": _TYPES[socket.AddressFamily(address.family)],
        "prefix": address.prefix,
    }


def _statistics(statistics: Statistics) -> dict[str, object]:
    return dict(zip(_STATISTICS, statistics))


def guest_network_get_route(ctx: Context) -> list[dict[str, object]]:
    """Return the routes of /proc/net/route and /proc/net/ipv6_route: proc_pid_net(5)."""
    found: list[dict[str, object]] = []
    for route4 in routes.parse_ipv4(_read(ctx, routes.IPV4)):
        found.append({**route4._asdict(), "version": 4})
    for route6 in routes.parse_ipv6(_read(ctx, routes.IPV6)):
        lengths = {"desprefixlen": str(route6.desprefixlen), "srcprefixlen": str(route6.srcprefixlen)}
        found.append({**route6._asdict(), **lengths, "version": 6})
    return found


def _read(ctx: Context, path: str) -> str:
    """Return the text of a routing table, which is empty if the kernel does not support that version of IP."""
    try:
        return ctx.host.read(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CommandError(f'open("{path}"): {error.strerror}') from error
