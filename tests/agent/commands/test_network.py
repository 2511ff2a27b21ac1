"""Interfaces from literal rtnetlink messages, routes from literal tables, and both from this machine's kernel."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qga.agent.commands import network
from qga.agent.config import defaults
from qga.agent.linux import routes, rtnetlink
from qga.agent.linux.host import Host
from qga.agent.linux.rtnetlink import RTM_GETADDR, RTM_GETLINK
from qga.agent.policy import Policy
from qga.protocol.errors import CommandError
from qga.protocol.schema import Schema
from tests.conftest import failed, write
from tests.contexts import context
from tests.netlink import NEWADDR, NEWLINK, address, link, message, payloads


class Kernel(Host):
    """Answers dumps with what a test says."""

    def rtnetlink(self, request: int) -> list[bytes]:
        return payloads(request, ANSWERS[request])


ANSWERS: dict[int, list[bytes]] = {}


@pytest.fixture
def interfaces(host: Host) -> Callable[[list[bytes], list[bytes]], list[dict[str, Any]]]:
    def ask(links: list[bytes], addresses: list[bytes]) -> list[dict[str, Any]]:
        ANSWERS.update({RTM_GETLINK: links, RTM_GETADDR: addresses})
        ctx = context(Kernel(host.run, host.which, host.root), Schema({}), Policy())
        return network.guest_network_get_interfaces(ctx)

    return ask


Interfaces = Callable[[list[bytes], list[bytes]], list[dict[str, Any]]]


def ip(text: str, prefix: int) -> dict[str, object]:
    return {"ip-address": text, "ip-address-type": "ipv6" if ":" in text else "ipv4", "prefix": prefix}


def test_interfaces_come_in_the_order_of_the_kernel(interfaces: Interfaces) -> None:
    counters = (11, 12, 13, 14, 15, 16, 17, 18, 0, 0, 0, 0, 0, 0, 0, 100)
    links = [link(1, "lo", bytes(6), *counters) + link(7, "eth0", bytes(range(6)), *counters), link(3, "down")]
    addresses = [
        address(1, "127.0.0.1", 8, "lo") + address(7, "10.0.0.2", 24, "eth0"),
        address(7, "10.0.0.3", 32, "eth0", peer="10.9.9.9") + address(7, "fe80::1", 64),
    ]
    statistics = {
        "rx-bytes": 13,
        "rx-packets": 11,
        "rx-errs": 15,
        "rx-dropped": 117,  # with what was missed, as /proc/net/dev has it
        "tx-bytes": 14,
        "tx-packets": 12,
        "tx-errs": 16,
        "tx-dropped": 18,
    }
    assert interfaces(links, addresses) == [
        {
            "name": "lo",
            "hardware-address": "00:00:00:00:00:00",
            "ip-addresses": [ip("127.0.0.1", 8)],
            "statistics": statistics,
        },
        {
            "name": "eth0",
            "hardware-address": "00:01:02:03:04:05",
            "ip-addresses": [ip("10.0.0.2", 24), ip("10.0.0.3", 32), ip("fe80::1", 64)],
            "statistics": statistics,
        },
        {"name": "down", "hardware-address": "00:00:00:00:00:00"},
    ]


def test_label_is_an_entry_of_its_own(interfaces: Interfaces) -> None:
    links = [link(2, "eth0", b"\x02" * 6, 1)]
    found = interfaces(links, [address(2, "10.0.0.3", 24, "eth0:1") + address(2, "10.0.0.4", 24, "eth0:1")])
    assert found == [
        {"name": "eth0", "hardware-address": "02:02:02:02:02:02"},
        {
            "name": "eth0:1",
            "hardware-address": "02:02:02:02:02:02",
            "ip-addresses": [ip("10.0.0.3", 24), ip("10.0.0.4", 24)],
        },
    ]


@pytest.mark.parametrize(
    ("hardware", "shown"),
    [
        (None, "00:00:00:00:00:00"),  # tun
        (b"\x0a\x00\x00\x01", "0a:00:00:01:00:00"),  # a tunnel over IPv4
        (bytes(range(0xA0, 0xB4)), "a0:a1:a2:a3:a4:a5"),  # InfiniBand
    ],
)
def test_hardware_address_of_interfaces_that_are_not_ethernet(
    interfaces: Interfaces, hardware: bytes | None, shown: str
) -> None:
    assert interfaces([link(1, "x", hardware)], [])[0]["hardware-address"] == shown


def test_address_of_an_interface_that_came_later_is_left_out(interfaces: Interfaces) -> None:
    assert interfaces([link(1, "lo")], [address(9, "10.0.0.1", 8, "new")]) == [
        {"name": "lo", "hardware-address": "00:00:00:00:00:00"}
    ]


def test_excluded_are_absent_and_primary_ones_first(host: Host) -> None:
    names = ("lo", "docker0", "vethab", "eth0", "wg0", "eth1")
    links = [link(number, name) for number, name in enumerate(names, 1)]
    addresses = [
        address(4, "10.0.0.1", 24, "eth0:9"),
        address(4, "10.0.0.2", 24, "eth0:1"),
        address(2, "172.17.0.1", 16, "docker0:x"),
    ]
    ANSWERS.update({RTM_GETLINK: links, RTM_GETADDR: addresses})
    config = defaults(exclude_nics=("docker*", "veth*", "*:9"), primary_nics=("wg0", "eth*"))
    ctx = context(Kernel(host.run, host.which, host.root), Schema({}), Policy(), config=config)
    found = [str(interface["name"]) for interface in network.guest_network_get_interfaces(ctx)]
    assert found == ["wg0", "eth0", "eth1", "eth0:1", "lo"]


def test_kernel_that_refuses(host: Host) -> None:
    class Refusing(Host):
        def rtnetlink(self, request: int) -> list[bytes]:
            raise OSError(97, os.strerror(97))

    ctx = context(Refusing(host.run, host.which, host.root), Schema({}), Policy())
    with pytest.raises(CommandError, match=r"^getifaddrs failed: Address family not supported by protocol$"):
        network.guest_network_get_interfaces(ctx)


@pytest.mark.parametrize("size", range(1, len(link(1, "lo"))))
def test_answer_that_is_cut_short(interfaces: Interfaces, size: int) -> None:
    with pytest.raises(CommandError, match=r"^getifaddrs failed: Bad message$"):
        interfaces([link(1, "lo")[:size]], [])
    with pytest.raises(CommandError, match=r"^getifaddrs failed: Bad message$"):
        interfaces([], [address(1, "127.0.0.1", 8)[:size]])


@pytest.mark.parametrize(
    "answer",
    [
        message(NEWLINK, b""),
        message(NEWADDR, bytes((socket.AF_INET, 8, 0, 0, 1, 0, 0, 0)), (2, b"\x7f\0\0")),  # an address of three bytes
        message(NEWLINK, bytes(16)) + bytes(16),  # a message of no length
        message(NEWLINK, bytes(16) + b"\x03\0\x01\0"),  # an attribute shorter than its header
        message(NEWLINK, bytes(16) + b"\x09\0\x01\0"),  # and one that is longer than the message
    ],
)
def test_malformed_answer(interfaces: Interfaces, answer: bytes) -> None:
    with pytest.raises(CommandError, match=r"^getifaddrs failed: Bad message$"):
        interfaces([answer], [answer])


def test_interfaces_of_this_machine(host: Host) -> None:
    links = [rtnetlink.parse_link(payload) for payload in rtnetlink.dump(RTM_GETLINK)]
    assert {link.name for link in links} == {name for _, name in socket.if_nameindex()}
    assert [link.ifindex for link in links] == [socket.if_nametoindex(link.name) for link in links]
    loopback = next(link for link in links if link.name == "lo")
    assert loopback.statistics is not None
    assert loopback.statistics.rx_packets <= int(Path("/sys/class/net/lo/statistics/rx_packets").read_text())
    addresses = [rtnetlink.parse_address(payload) for payload in rtnetlink.dump(RTM_GETADDR)]
    local = [a[1:4] for a in addresses if a is not None and a.ifindex == loopback.ifindex]
    assert (socket.AF_INET, b"\x7f\0\0\x01", 8) in local


def test_dump_that_the_kernel_refuses() -> None:
    with pytest.raises(OSError, match="Operation not supported"):
        rtnetlink.dump(0x7F2)


IPV4 = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t0100000A\t0003\t1\t2\t4294967295\t00000000\t1400\t5\t6\n"
    "eth0\t000AA8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    "broken\n"
    "eth1\t00000000\t1\t0001\t0\t0\tmany\t0\t0\t0\t0\n"
    "eth1\t100000000\t1\t0001\t0\t0\t0\t0\t0\t0\t0\n"
)
IPV6 = (
    f"fd000000000000000000000000000000 {'f' * 5000} 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 0000000a 0000000b 00000003     eth1\n"
    "fd00 40 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 0000000a 0000000b 00000003     eth1\n"
    "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 0000000a 0000000b 00000003     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 ffffffff 00000001 00000000 80200001       lo\n"
)


def test_routes(host: Host, execute: Callable[..., dict[str, Any]]) -> None:
    write(host, "/proc/net/route", IPV4)
    write(host, "/proc/net/ipv6_route", IPV6)
    found = execute("guest-network-get-route")["return"]
    assert found == [
        {
            "iface": "eth0",
            "destination": "0.0.0.0",
            "gateway": "10.0.0.1",
            "mask": "0.0.0.0",
            "metric": 4294967295,
            "flags": 3,
            "refcnt": 1,
            "use": 2,
            "mtu": 1400,
            "window": 5,
            "irtt": 6,
            "version": 4,
        },
        {
            "iface": "eth0",
            "destination": "192.168.10.0",
            "gateway": "0.0.0.0",
            "mask": "255.255.255.0",
            "metric": 100,
            "flags": 1,
            "refcnt": 0,
            "use": 0,
            "mtu": 0,
            "window": 0,
            "irtt": 0,
            "version": 4,
        },
        {
            "iface": "eth0",
            "destination": "fd00::",
            "desprefixlen": "64",
            "source": "::",
            "srcprefixlen": "0",
            "nexthop": "fe80::1",
            "metric": 1024,
            "flags": 3,
            "refcnt": 10,
            "use": 11,
            "version": 6,
        },
        {
            "iface": "lo",
            "destination": "::",
            "desprefixlen": "0",
            "source": "::",
            "srcprefixlen": "0",
            "nexthop": "::",
            "metric": 0xFFFFFFFF,
            "flags": 0x80200001,
            "refcnt": 1,
            "use": 0,
            "version": 6,
        },
    ]


def test_routes_on_a_big_endian_machine() -> None:
    text = IPV4.replace("0100000A", "0A000001")
    assert routes.parse_ipv4(text, "big")[0].gateway == "10.0.0.1"


def test_routes_of_a_kernel_without_ip(host: Host, execute: Callable[..., dict[str, Any]]) -> None:
    assert execute("guest-network-get-route") == {"return": []}
    write(host, "/proc/net/route", IPV4)
    assert [route["version"] for route in execute("guest-network-get-route")["return"]] == [4, 4]


def test_routes_that_cannot_be_read(host: Host, execute: Callable[..., dict[str, Any]]) -> None:
    Path(host.path("/proc/net/ipv6_route")).mkdir(parents=True)
    assert execute("guest-network-get-route") == failed('open("/proc/net/ipv6_route"): Is a directory')
