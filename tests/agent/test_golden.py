"""The recorded exchanges with QEMU's agent, whole and in pieces, through everything but a descriptor.

``golden/README.md`` says what the cases are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qga.agent.linux.host import Host
from qga.agent.session import Session
from tests.conftest import write
from tests.recorded import CASES, SYNC, SYNCED, expected, parsed


def receive(session: Session, pieces: Iterator[bytes] | list[bytes]) -> list[dict[str, Any]]:
    said = b""
    for piece in pieces:
        session.receive(piece)
        said += b"".join(iter(session.next_reply, None))
    lines = said.splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    return [parsed(line) for line in lines]


def by_name(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.fixture(autouse=True)
def _machine(host: Host) -> None:
    """What the recorded cases assume: a processor that cannot be taken offline, a memory block."""
    Path(host.path("/sys/devices/system/cpu/cpu0")).mkdir(parents=True)
    write(host, "/sys/devices/system/memory/memory0/state", "online\n")


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_recorded_exchange(case: dict[str, Any], new_session: Callable[[], Session]) -> None:
    session = new_session()
    assert receive(session, [SYNC]) == [SYNCED]
    replies = receive(session, [case["send"].encode("latin-1")])
    assert replies == expected(case, replies)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_recorded_exchange_in_pieces(case: dict[str, Any], new_session: Callable[[], Session]) -> None:
    """The exchange is the same byte by byte, and split in two at every position."""
    data = case["send"].encode("latin-1")
    splits = [[data[i : i + 1] for i in range(len(data))], *([data[:i], data[i:]] for i in range(1, len(data)))]
    for pieces in splits:
        replies = receive(new_session(), pieces)
        assert replies == expected(case, replies), pieces


def test_every_case_is_there() -> None:
    assert len(CASES) == 108
