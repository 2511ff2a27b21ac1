"""A request that is given up while it waits, while half of it has left, or under way: no other request suffers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from qga.client import AgentTimeout, AsyncClient, Client
from qga.client.aio import AsyncLibvirtConnection
from qga.client.connection import Connection
from tests.client.recorded import RecordedConnection, begun

LARGE = {"path": "x", "input-data": "x" * (20 << 20)}  # more than a socket's buffers hold


class SlowAgent:
    """Answers the synchronising, and then reads nothing until ``reads`` is set. ``commands``: what it read then."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.commands: list[str] = []
        self.connections = 0
        self.reads = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.reads.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with peer, peer.makefile("rb") as lines:
                for line in iter(lines.readline, b""):
                    request = json.loads(line.lstrip(b"\xff"))
                    if request["execute"] == "guest-sync-delimited":
                        peer.sendall(b'\xff{"return": %d}\n' % request["arguments"]["id"])
                        self.reads.wait()
                        continue
                    self.commands.append(request["execute"])
                    value = {"guest-exec": {"pid": 7}, "guest-get-time": 5}.get(request["execute"], {})
                    peer.sendall(json.dumps({"return": value, "id": request["id"]}).encode() + b"\n")


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowAgent]:
    with SlowAgent(tmp_path / "agent.sock") as agent:
        yield agent


async def turn() -> None:
    """Let every task go as far as it can without the agent."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_one_that_was_not_sent_yet_is_never_sent(slow: SlowAgent) -> None:
    async def there() -> tuple[Any, ...]:
        async with AsyncClient(slow.address) as guest:
            await guest._connected(5)
            first = asyncio.create_task(guest.call_raw("guest-exec", LARGE))
            await turn()
            given_up = asyncio.create_task(guest.call_raw("guest-set-time"))
            last = asyncio.create_task(guest.call_raw("guest-get-time"))
            await turn()
            given_up.cancel()
            await turn()
            slow.reads.set()
            return await first, await last

    assert asyncio.run(there()) == ({"pid": 7}, 5)
    assert slow.commands == ["guest-exec", "guest-get-time"]
    assert slow.connections == 1


def test_one_of_which_half_has_left_goes_on_and_its_reply_is_dropped(slow: SlowAgent) -> None:
    async def there() -> Any:
        async with AsyncClient(slow.address) as guest:
            await guest._connected(5)
            given_up = asyncio.create_task(guest.call_raw("guest-exec", LARGE))
            last = asyncio.create_task(guest.call_raw("guest-get-time"))
            await turn()
            given_up.cancel()
            await turn()
            slow.reads.set()
            return await last

    assert asyncio.run(there()) == 5
    assert slow.commands == ["guest-exec", "guest-get-time"]
    assert slow.connections == 1


@pytest.mark.parametrize("arguments", [LARGE, {"path": "x"}], ids=["half", "whole"])
def test_the_blocking_client_goes_on_over_the_same_connection(slow: SlowAgent, arguments: dict[str, Any]) -> None:
    with Client(slow.address) as guest:
        with pytest.raises(AgentTimeout, match=r"^guest-exec: "):
            guest.call_raw("guest-exec", arguments, timeout=0.1)
        slow.reads.set()
        assert guest.guest_get_time() == 5
    assert slow.commands == ["guest-exec", "guest-get-time"]
    assert slow.connections == 1


def test_one_of_which_no_byte_had_room_is_never_sent() -> None:
    connection = RecordedConnection()
    begun(connection)
    given_up = connection.submit("guest-ping", {})
    assert not connection.send(lambda data: 0)
    kept = connection.submit("guest-info", {})
    connection.withdraw(given_up)
    (sent,) = connection.outgoing()
    assert json.loads(sent) == {"execute": "guest-info", "id": kept}


def test_an_agent_that_sends_without_end_does_not_keep_a_request_from_timing_out(tmp_path: Path) -> None:
    """Blank lines and events are not replies: the deadline counts all the same."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen()

        def flood() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as lines:
                sync = json.loads(lines.readline().lstrip(b"\xff"))
                peer.sendall(b'\xff{"return": %d}\n' % sync["arguments"]["id"])
                try:
                    while True:
                        peer.sendall(b'{"event": "x"}\n' * 100)
                except OSError:
                    pass

        thread = threading.Thread(target=flood)
        thread.start()
        with Client(f"unix:{tmp_path}/agent.sock") as guest, pytest.raises(AgentTimeout, match=r"^guest-ping: "):
            guest.call_raw("guest-ping", timeout=0.2)
        thread.join()


class SlowLibvirt(Connection):
    """As LibvirtConnection; a command ends when ``ends`` is set. ``most``: how many were ever under way together."""

    def __init__(self) -> None:
        super().__init__("libvirt:x")
        self.sent: list[str] = []
        self.begun, self.ends = threading.Event(), threading.Event()
        self.now = self.most = 0

    def ask(self, command: str, room: int, data: bytes, deadline: float) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        self.sent.append(command)
        self.begun.set()
        assert self.ends.wait(20)
        self.now -= 1
        return command


def test_libvirts_turn_is_kept_by_what_is_under_way() -> None:
    libvirt = SlowLibvirt()

    async def there() -> Any:
        connection = AsyncLibvirtConnection(libvirt)  # type: ignore[arg-type]
        deadline = time.monotonic() + 20

        def begin(name: str, deadline: float) -> asyncio.Task[Any]:
            return asyncio.create_task(connection.collect(connection.submit(name, {}), deadline))

        tasks = [begin(name, deadline) for name in ("a", "b", "c", "d")]
        late = begin("late", time.monotonic())
        await asyncio.to_thread(libvirt.begun.wait)
        tasks[0].cancel()  # under way
        tasks[1].cancel()  # waits
        with pytest.raises(AgentTimeout, match=r"late: .* was not sent"):
            await late
        await turn()
        assert libvirt.sent == ["a"]
        libvirt.ends.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    got = asyncio.run(there())
    assert [type(one) for one in got[:2]] == [asyncio.CancelledError] * 2
    assert got[2:] == ["c", "d"]
    assert (libvirt.sent, libvirt.most) == (["a", "c", "d"], 1)
