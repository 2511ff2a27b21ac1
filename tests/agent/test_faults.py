"""Failing system calls, and hosts that disconnect at any point: a clear reply or none, and the agent continues.

Faults that need a machine of their own are in tests/vm/test_faults.py; README's reliability table names both.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from qga.agent.binding import bind
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host, Outcome
from qga.agent.policy import Policy
from qga.protocol import schema
from tests.conftest import carried_out
from tests.contexts import context
from tests.lines import Closed, Lines
from tests.running import RunningAgent

SOON = 20.0  # seconds that anything may take before it counts as hung
SCHEMA = schema.load()
# Without arguments, and nothing happens to this machine.
LOOKING = sorted(name for name in SCHEMA.commands if name.startswith(("guest-get-", "guest-network-get-")))
PING = b'{"execute":"guest-ping"}\n'
INFO = b'{"execute":"guest-info"}\n'


class Broken(Host):
    """A host on which every call fails."""

    number = errno.EIO

    def _fail(self, *arguments: object, **keywords: object) -> Any:
        raise OSError(self.number, os.strerror(self.number))

    read = read_attribute = write = statvfs = rtnetlink = load_average = ioctl = _fail


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOMEM])
@pytest.mark.parametrize("name", LOOKING)
def test_kernel_calls_that_all_fail(name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "number", number)
    host = Broken(lambda argv, **keywords: Outcome(errno=number), lambda program: None, str(tmp_path))
    reply = carried_out(Dispatcher(context(host, SCHEMA, Policy()), bind(SCHEMA)), {"execute": name})
    assert reply is not None
    if "error" in reply.body:
        assert "internal error" not in str(reply.body["error"])


def ask(peer: Lines, name: str, **arguments: object) -> Any:
    peer.send(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
    return json.loads(peer.read_line(SOON))


@pytest.mark.forks
@pytest.mark.slow
def test_no_descriptors_left(agent: RunningAgent, path: str) -> None:
    """With no, one, two… free descriptors, each command succeeds or reports too many open files."""
    requests: list[tuple[str, dict[str, object]]] = [(name, {}) for name in LOOKING]
    requests += [
        ("guest-exec", {"path": "true", "capture-output": True}),
        ("guest-file-open", {"path": "/dev/null"}),
        ("guest-fsfreeze-status", {}),
        ("guest-ssh-get-authorized-keys", {"username": "nobody"}),
    ]
    with Lines.connect(path) as peer:
        fine = {name: ask(peer, name, **arguments) for name, arguments in requests}  # all is imported now
        limits = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
        used = {int(fd) for fd in os.listdir(f"/proc/{agent.process.pid}/fd")}
        for spare in range(6):
            limit = next(n for n in range(1024) if len([fd for fd in range(n) if fd not in used]) == spare)
            resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (limit, limits[1]))
            for name, arguments in requests:
                reply = ask(peer, name, **arguments)
                assert "return" in reply or "internal error" not in reply["error"]["desc"], (spare, name, reply)
                if name == "guest-file-open" and "return" in reply:
                    ask(peer, "guest-file-close", handle=reply["return"])
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, limits)
        for name, arguments in requests:
            assert ("return" in ask(peer, name, **arguments)) == ("return" in fine[name]), name
    assert agent.alive


@pytest.mark.forks
@pytest.mark.slow
def test_host_that_leaves_at_every_point_of_a_reply(agent: RunningAgent, path: str) -> None:
    whole = 0
    with Lines.connect(path) as peer:
        peer.send(INFO)
        whole = len(peer.read_line(SOON)) + 1
    points = [*range(40), *range(40, 3 * whole, 97)]
    for count, point in enumerate(points):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(path)
            if count % 2:
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.sendall(INFO * 200)  # more than the socket's buffers take
            left = point
            while left:
                left -= len(rude.recv(left))
    assert len(points) > 100
    with Lines.connect(path) as peer:
        assert ask(peer, "guest-sync", id=5) == {"return": 5}


@pytest.mark.forks
@pytest.mark.slow
def test_host_that_leaves_at_every_point_of_a_request(agent: RunningAgent, path: str) -> None:
    request = b'\xff{"execute":"guest-sync-delimited","arguments":{"id":77}}\n'
    for end in range(len(request) + 1):
        with Lines.connect(path) as peer:
            peer.send(request[:end])
        with Lines.connect(path) as peer:
            assert ask(peer, "guest-sync", id=end) == {"return": end}


STATES = {
    "idle, without a host": b"",
    "idle": PING,
    "in the middle of a request": b'{"execute":"guest-pi',
    "with replies that nobody reads": INFO * 5000,
    "with a program running": b'{"execute":"guest-exec","arguments":{"path":"sleep","arg":["3"]}}\n',
    "with a file open": b'{"execute":"guest-file-open","arguments":{"path":"/dev/null"}}\n',
}


@pytest.mark.forks
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("state", STATES)
def test_sigterm_in_every_state(tmp_path: Path, path: str, state: str, number: int) -> None:
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path) as agent:
        peer = None
        if STATES[state]:
            peer = Lines.connect(path)
            peer.send(STATES[state][: 1 << 16], timeout=2)
            agent.settle()
        agent.process.send_signal(number)
        assert agent.process.wait(SOON) == 0
        if peer is not None:
            peer.close()


@pytest.mark.forks
@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_sighup_in_every_state(tmp_path: Path, path: str, state: str) -> None:
    """After SIGHUP the agent continues, and earlier requests are answered."""
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path) as agent:
        peer = Lines.connect(path)
        with peer:
            request = STATES[state][: 1 << 16]
            peer.send(request, timeout=2)
            for _ in range(3):
                agent.process.send_signal(signal.SIGHUP)
                assert agent.notification().startswith("RELOADING=1\n")
                assert agent.notification() == "READY=1"
            if state == "in the middle of a request":
                peer.send(PING[len(request) :])
            for _ in range(max(1, request.count(b"\n")) if request else 0):
                assert b'"return"' in peer.read_line(SOON)
            assert peer.read_available(0.05) == b""
        with Lines.connect(path) as peer:
            assert ask(peer, "guest-sync", id=5) == {"return": 5}
        assert agent.terminate() == 0


@pytest.mark.forks
@pytest.mark.slow
def test_every_reply_arrives_once_while_clients_come_and_go(agent: RunningAgent, path: str) -> None:
    """With seeded random disconnects, the ids come back in order on each connection, none twice and none missing."""
    rng = random.Random(4)
    for _ in range(60):
        count = rng.randrange(1, 300)
        requests = b"".join(b'{"execute":"guest-sync","arguments":{"id":%d}}\n' % n for n in range(count))
        with Lines.connect(path) as peer:
            position = 0
            while position < len(requests):
                step = rng.randrange(1, 4000)
                peer.send(requests[position : position + step])
                position += step
            read = rng.randrange(count + 1)
            assert [json.loads(peer.read_line(SOON)) for _ in range(read)] == [{"return": n} for n in range(read)]
            if read == count:
                assert peer.read_available(0.01) == b""
    with Lines.connect(path) as peer:
        try:
            assert ask(peer, "guest-ping") == {"return": {}}
        except Closed:
            pytest.fail("the agent has closed the connection")
