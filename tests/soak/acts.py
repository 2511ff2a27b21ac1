"""The acts of hosts: each starts and ends on a connection with nothing pending. Disconnecting is an act too."""

from __future__ import annotations

import base64
import os
import random
import select
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from qga.protocol import schema
from tests.soak.peer import PATIENCE, Broken, Peer
from tests.soak.report import Report

LARGEST = 4 * 1024 * 1024  # bytes of a file, of a program's output
KEPT = 4096  # bytes of output of a program that is never polled, which the agent keeps

_QUESTIONS: dict[str, dict[str, object]] = {
    name: {"username": "root"} if command.members else {}
    for name, command in schema.load().commands.items()
    if name.startswith(("guest-get-", "guest-network-get-", "guest-ssh-get-")) or name in ("guest-info", "guest-ping")
}
_REFUSED: list[tuple[str, dict[str, object]]] = [
    ("guest-no-such-command", {}),
    ("guest-ping", {"x": 1}),
    ("guest-sync", {}),
    ("guest-sync", {"id": 1.5}),
    ("guest-file-read", {"handle": 1}),
    ("guest-file-open", {"path": "/nonexistent/x"}),
    ("guest-file-open", {"path": "/dev/null", "mode": "q"}),
    ("guest-exec", {"path": "/nonexistent/x"}),
    ("guest-exec", {"path": "sh", "input-data": "*"}),
    ("guest-exec-status", {"pid": -1}),
    ("guest-set-vcpus", {"vcpus": [{"logical-id": -1, "online": True}]}),
    ("guest-shutdown", {"mode": "never"}),
]
# No request, and how many complaints it is worth. Each ends where a message may begin.
_NONSENSE = [
    (b"{}\n", 1),
    (b"[]1 null\n", 3),
    (b'{"execute":"guest-ping",}\n', 1),
    (b'{"execute":"guest-ping","execute":"guest-ping"}\n', 1),
    (b'{"execute":"guest-ping","arguments":[]}\n', 1),
    (b'{"execute":"\\ud800"}\n', 1),
    (b"{" * 5 + b"}" * 5 + b"\n", 1),
    (b"]}", 2),
    (b"\xff", 1),
    (b'{"execute":"guest-sync","arguments":{"id":\xff', 1),
]


@dataclass
class World:
    """State that outlives a connection. ``closed`` are the handles confirmed as closed, from ``swept`` on."""

    path: str
    directory: Path
    report: Report
    random: random.Random
    swept: int = 0
    closed: set[int] = field(default_factory=set)

    def size(self, most: int = LARGEST) -> int:
        """Mostly small."""
        return int(most ** self.random.random())

    def send(self, peer: Peer, data: bytes) -> None:
        """Send bytes in one piece or in a few."""
        cuts = sorted(self.random.randrange(len(data) + 1) for _ in range(self.random.choice((0, 0, 1, 3))))
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            peer.lines.send(data[begin:end])

    def requests(self, peer: Peer, most: int) -> bytes:
        """Return commands that are carried out at once and change nothing."""
        names = self.random.choices(list(_QUESTIONS), k=self.random.randint(1, most))
        return b"".join(peer.spell(name, _QUESTIONS[name]) for name in names)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.report.wrong.append(what)


def pings(world: World, peer: Peer) -> None:
    world.send(peer, b"".join(peer.spell("guest-ping", {}) for _ in range(world.random.randint(1, 200))))
    peer.receive_all()


def questions(world: World, peer: Peer) -> None:
    world.send(peer, world.requests(peer, 12))
    peer.receive_all()


def everything(world: World, peer: Peer) -> None:
    """Each command once: what it imports then, it keeps."""
    for name, arguments in (*_QUESTIONS.items(), *_REFUSED):
        peer.ask(name, **arguments)


def synchronise(world: World, peer: Peer) -> None:
    """Sync as libvirt does, after a partial request of an earlier client."""
    half = world.random.choice((b"", b"{", b'{"execute":"guest-', b'{"a":[1,2', b"'"))
    world.send(peer, peer.nonsense(half + b"\xff"))
    number = world.random.getrandbits(31)
    world.send(peer, peer.spell("guest-sync-delimited", {"id": number}))
    peer.receive()
    world.check(peer.receive().get("return") == number, "a synchronisation came back with another number")


def nonsense(world: World, peer: Peer) -> None:
    for data, complaints in world.random.choices(_NONSENSE, k=3):
        world.send(peer, peer.nonsense(data, complaints))
        world.send(peer, peer.spell("guest-ping", {}))
    peer.receive_all()


def noise(world: World, peer: Peer) -> None:
    """Send any bytes; every line before the byte 0xFF must be an error."""
    world.send(peer, world.random.randbytes(world.size(64 * 1024)) + b"\xff")
    world.send(peer, peer.spell("guest-sync-delimited", {"id": 1}))
    for line in peer.receive_delimited():
        world.check(line.startswith(b'{"error":'), f"noise was answered: {line[:100]!r}")


def refused(world: World, peer: Peer) -> None:
    for name, arguments in world.random.choices(_REFUSED, k=4):
        world.send(peer, peer.spell(name, arguments))
        world.check("error" in peer.receive(), f"{name} was not refused")


def file(world: World, peer: Peer, size: int | None = None) -> None:
    """Write a file by a handle and read it back in pieces."""
    content = world.random.randbytes(world.size() if size is None else size)
    handle = peer.ask("guest-file-open", path=str(world.directory / "file"), mode="w+")["return"]
    piece = max(1, len(content) // world.random.randint(1, 4))
    for at in range(0, len(content), piece):
        data = content[at : at + piece]
        written = peer.ask("guest-file-write", handle=handle, buf_b64=base64.b64encode(data).decode())
        world.check(written["return"]["count"] == len(data), "less was written")
    peer.ask("guest-file-seek", handle=handle, offset=0, whence="set")
    read, eof = b"", False
    while not eof:
        told = peer.ask("guest-file-read", handle=handle, count=piece + 1)["return"]
        read, eof = read + base64.b64decode(told["buf-b64"]), told["eof"]
    world.check(read == content, f"a file of {len(content)} bytes came back with {len(read)} bytes, or others")
    close(world, peer, handle)


def close(world: World, peer: Peer, handle: int) -> None:
    peer.ask("guest-file-close", handle=handle)
    world.closed.add(handle)


def program(world: World, peer: Peer, size: int | None = None) -> None:
    """Run a program with input and output, and poll it until it has ended."""
    text = world.random.randbytes(world.size() if size is None else size)
    code = world.random.randrange(256)
    script = f"cat; echo done >&2; exit {code}"
    started = peer.ask(
        "guest-exec",
        path="/bin/sh",
        arg=["-c", script],
        input_data=base64.b64encode(text).decode(),
        capture_output=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not (ended := peer.ask("guest-exec-status", pid=started["return"]["pid"])["return"])["exited"]:
        if time.monotonic() > deadline:
            raise Broken("a program does not end")
        time.sleep(0.002)
    world.check(ended["exitcode"] == code, f"exit status {ended.get('exitcode')} in place of {code}")
    world.check(base64.b64decode(ended.get("out-data", "")) == text, "a program's output is another")
    world.check(base64.b64decode(ended["err-data"]) == b"done\n", "a program's errors are others")


def sweep(world: World, peer: Peer) -> None:
    """Close the handles that hosts have opened and abandoned."""
    latest: int = peer.ask("guest-file-open", path="/dev/null")["return"]
    for handle in range(world.swept or latest, latest + 1):
        if handle not in world.closed:
            peer.ask("guest-file-close", handle=handle)
    world.swept = latest + 1
    world.closed.clear()


# Leaving: what the host has just done when it goes


def with_nothing_pending(world: World, peer: Peer) -> None:
    peer.quiet()


def in_the_middle_of_a_request(world: World, peer: Peer) -> None:
    data = world.requests(peer, 4)
    peer.lines.send(data[: world.random.randrange(len(data))])


def in_the_middle_of_a_large_write(world: World, peer: Peer) -> None:
    data = b'{"execute":"guest-file-write","arguments":{"handle":1,"buf-b64":"' + b"QUJD" * (LARGEST // 4)
    peer.lines.send(data[: world.size(len(data))])


def before_any_reply(world: World, peer: Peer) -> None:
    data = world.requests(peer, 30) + peer.spell("guest-file-open", {"path": "/dev/null"})
    quick = {"path": "/bin/sh", "arg": ["-c", f"head -c {KEPT} /dev/zero"], "capture-output": True}
    peer.lines.send(data + peer.spell("guest-exec", quick))


def in_the_middle_of_a_reply(world: World, peer: Peer) -> None:
    peer.lines.send(world.requests(peer, 30))
    _read_some(peer, world.size(10_000))


def in_the_middle_of_a_large_reply(world: World, peer: Peer) -> None:
    handle = peer.ask("guest-file-open", path="/dev/zero")["return"]
    peer.lines.send(peer.spell("guest-file-read", {"handle": handle, "count": LARGEST}))
    _read_some(peer, world.size(LARGEST))


def while_the_agent_cannot_write(world: World, peer: Peer) -> None:
    peer.lines.send(b"".join(peer.spell("guest-info", {}) for _ in range(200)))
    time.sleep(world.random.random() / 20)


def after_it_was_late_to_read(world: World, peer: Peer) -> None:
    while_the_agent_cannot_write(world, peer)
    peer.receive_all()
    peer.quiet()


def with_its_own_side_shut(world: World, peer: Peer) -> None:
    """Half-close: earlier requests are answered, then the agent closes too."""
    peer.lines.send(world.requests(peer, 60))
    with socket.socket(fileno=os.dup(peer.lines.descriptor)) as shutting:
        shutting.shutdown(socket.SHUT_WR)
    peer.receive_all()
    more = peer.lines.read_available(PATIENCE)
    world.check(more == b"", f"after the last reply came {more[:100]!r}")


def _read_some(peer: Peer, size: int) -> None:
    """Read up to ``size`` bytes, as long as they arrive without a pause."""
    poll = select.poll()
    poll.register(peer.lines.descriptor, select.POLLIN)
    while size > 0 and poll.poll(50):
        data = os.read(peer.lines.descriptor, size)
        if not data:
            break
        size -= len(data)
