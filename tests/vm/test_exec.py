"""Programs of a real guest, started by its host over virtio-serial and polled until they have ended."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.until import until
from tests.vm.guest import Guest
from tests.vm.peer import Peer

PATIENCE = 60.0  # seconds, under software emulation
MAX_OUTPUT = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def peer(guest: Guest) -> Iterator[Peer]:
    with guest.peer() as peer:
        peer.sync()
        yield peer


def run(peer: Peer, *argv: str, **arguments: Any) -> Any:
    path, *arg = argv
    pid = peer.call("guest-exec", path=path, arg=arg, capture_output=True, **arguments)["pid"]

    def look() -> Any:
        status = peer.call("guest-exec-status", timeout=PATIENCE, pid=pid)
        return status if status["exited"] else None

    return until(look, PATIENCE)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code(peer: Peer, code: int) -> None:
    assert run(peer, "sh", "-c", f"exit {code}") == {"exited": True, "exitcode": code}


@pytest.mark.parametrize("number", [1, 9, 11, 15])
def test_signal(peer: Peer, number: int) -> None:
    assert run(peer, "sh", "-c", f"kill -{number} $$") == {"exited": True, "signal": number}


def test_killed_by_somebody_in_the_guest(guest: Guest, peer: Peer) -> None:
    pid = peer.call("guest-exec", path="sleep", arg=["600"])["pid"]
    assert peer.call("guest-exec-status", pid=pid) == {"exited": False}
    guest.check(f"kill -TERM {pid}; while [ -e /proc/{pid} ]; do sleep 0.1; done")
    assert peer.call("guest-exec-status", pid=pid) == {"exited": True, "signal": 15}


@pytest.mark.parametrize("more", [0, 1])
def test_sixteen_mebibytes_of_output(peer: Peer, more: int) -> None:
    status = run(peer, "sh", "-c", f"head -c {MAX_OUTPUT + more} /dev/zero | tr '\\0' x; echo end >&2")
    output = base64.b64decode(status["out-data"])
    assert hashlib.sha256(output).digest() == hashlib.sha256(b"x" * MAX_OUTPUT).digest()
    assert (status["out-truncated"], status["exitcode"]) == (more == 1, 0)
    assert base64.b64decode(status["err-data"]) == b"end\n"


def test_effects_of_a_program_are_seen_by_others(guest: Guest, peer: Peer) -> None:
    data = base64.b64encode("first\nzweite Zeile ü\n".encode()).decode()
    assert run(peer, "tee", "/run/written", input_data=data)["exitcode"] == 0
    assert guest.check("cat /run/written; rm /run/written") == "first\nzweite Zeile ü\n"


def test_a_program_outlives_the_agent(guest: Guest, peer: Peer) -> None:
    pid = peer.call("guest-exec", path="sleep", arg=["600"])["pid"]
    guest.check("systemctl restart qemu-ga")
    assert guest.check(f"cat /proc/{pid}/comm").strip() == "sleep"
    guest.check(f"kill {pid}")
