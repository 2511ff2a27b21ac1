"""Literal rtnetlink messages, as the kernel writes them: rtnetlink(7)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from qga.agent.linux import rtnetlink

NEWLINK, NEWADDR = 16, 20


def payloads(request: int, datagrams: Iterable[bytes]) -> list[bytes]:
    """Return the payloads of the kernel's answer to a request that arrives in these datagrams."""
    return [payload for data in datagrams for kind, _, payload in rtnetlink.messages(data) if kind == request - 2]


def message(kind: int, body: bytes, *attributes: tuple[int, bytes]) -> bytes:
    for number, value in attributes:
        body += struct.pack("=HH", len(value) + 4, number) + value + b"\0" * (-len(value) % 4)
    return struct.pack("=IHHII", len(body) + 16, kind, 2, 0, 0) + body


def link(index: int, name: str, hardware: bytes | None = None, *counters: int) -> bytes:
    attributes = [(3, name.encode() + b"\0")]
    if hardware is not None:
        attributes.append((1, hardware))
    if counters:
        attributes.append((23, struct.pack("=23Q", *counters, *[0] * (23 - len(counters)))))
    return message(NEWLINK, struct.pack("=BxHiII", 0, 1, index, 0, 0), *attributes)


def address(index: int, ip: str, prefix: int, label: str | None = None, peer: str | None = None) -> bytes:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    attributes = [(1, socket.inet_pton(family, peer or ip)), (2, socket.inet_pton(family, ip))]
    if label:
        attributes.append((3, label.encode() + b"\0"))
    return message(NEWADDR, struct.pack("=BBBBI", family, prefix, 0, 0, index), *attributes)
