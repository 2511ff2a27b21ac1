"""The ways to an agent: real sockets, terminals and vsock; for libvirt a stand-in of its own programs."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from qga.client import (
    AddressError,
    AgentTimeout,
    AgentUnreachable,
    AsyncClient,
    Client,
    CommandFailed,
    CommandNotFound,
    transport,
)
from tests.client_agents import AGENTS, agent, listening

pytestmark = pytest.mark.forks


@contextmanager
def forwarded(path: str, host: str) -> Iterator[int]:
    """A port that leads to the socket at ``path``, as a chardev that listens on TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        port: int = listener.getsockname()[1]

        def forward() -> None:
            client, _ = listener.accept()
            with client, socket.socket(socket.AF_UNIX) as agent:
                agent.connect(path)
                back = threading.Thread(target=pass_on, args=(agent, client))
                back.start()
                pass_on(client, agent)
                agent.shutdown(socket.SHUT_RDWR)
                back.join()

        thread = threading.Thread(target=forward)
        thread.start()
        yield port
        thread.join()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)


@pytest.mark.parametrize("which", AGENTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp(which: str, host: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    with (
        listening(which, tmp_path) as path,
        forwarded(path, host) as port,
        Client(f"tcp:[{host}]:{port}") as guest,
    ):
        assert guest.upload(str(tmp_path / "a"), str(tmp_path / "b")).verified
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


@pytest.fixture(params=AGENTS)
def serial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The client's end of two pseudo-terminals, joined; an agent's isa-serial is on the other."""
    theirs, agents = os.openpty()
    ours, clients = os.openpty()
    for descriptor in (agents, clients):
        tty.setraw(descriptor)
    joiner = subprocess.Popen([sys.executable, "-c", JOIN, str(theirs), str(ours)], pass_fds=(theirs, ours))
    try:
        with agent(request.param, tmp_path, path=os.ttyname(agents), method="isa-serial"):
            yield f"serial:{os.ttyname(clients)}"
    finally:
        joiner.kill()
        joiner.wait()
        for descriptor in (theirs, agents, ours, clients):
            os.close(descriptor)


def test_a_serial_line(serial: str) -> None:
    with Client.connect(serial, wait=15) as guest:
        assert guest.guest_get_host_name().host_name == socket.gethostname()


def test_much_at_once_over_a_serial_line(serial: str, tmp_path: Path) -> None:
    """QEMU's agent leaves answers out where it has read more than it takes at a time."""
    (tmp_path / "a").write_bytes(os.urandom(3 << 20))

    async def there() -> None:
        async with await AsyncClient.connect(serial, wait=15) as guest:
            assert await asyncio.gather(*[guest.guest_ping() for _ in range(300)]) == [None] * 300
            copy = asyncio.create_task(guest.upload(str(tmp_path / "a"), str(tmp_path / "b")))
            while not copy.done():
                await guest.guest_ping()
            assert (await copy).verified

    asyncio.run(there())
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


JOIN = """
import os, select, sys
a, b = map(int, sys.argv[1:])
while True:
    for ready in select.select([a, b], [], [])[0]:
        os.write(b if ready == a else a, os.read(ready, 4096))
"""


def test_waiting_for_an_agent_reports_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    seen: list[str] = []
    with pytest.raises(AgentUnreachable, match="does the guest run"):
        Client.connect(str(path), wait=1.2, progress=lambda passed, error: seen.append(str(error)))
    assert len(seen) >= 2


def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    """As QEMU's chardev with another client: it accepts, nothing comes, and nothing may be carried out later."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        client = Client(str(tmp_path / "s"), timeout=0.3)
        with pytest.raises(AgentTimeout, match="another client holds the socket"):
            client.call("guest-exec", path="true")
        peer, _ = listener.accept()
        with peer:
            assert b"guest-exec" not in peer.recv(9999)
    with pytest.raises(AgentUnreachable, match="nobody listens"):
        Client(str(tmp_path / "s")).guest_ping()


def test_a_console_is_not_an_agent() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    echo = subprocess.Popen(
        [sys.executable, "-c", f"import os\nwhile 1: os.write({master}, os.read({master}, 99))"], pass_fds=(master,)
    )
    try:
        with pytest.raises(AgentTimeout, match="a console, not an agent"):
            Client(f"serial:{os.ttyname(slave)}", timeout=1).guest_ping()
    finally:
        echo.kill()
        echo.wait()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/run/x", ("unix", "/run/x", "", 0)),
        ("x.sock", ("unix", "x.sock", "", 0)),
        ("./a:b", ("unix", "./a:b", "", 0)),
        ("unix:/run/x", ("unix", "/run/x", "", 0)),
        ("tcp:[::1]:5000", ("tcp", "", "::1", 5000)),
        ("vsock:3:1234", ("vsock", "", "3", 1234)),
        ("serial:/dev/ttyS0", ("serial", "/dev/ttyS0", "", 0)),
        ("libvirt:web", ("libvirt", "web", "", 0)),
        ("libvirt+ssh://me@h/web", ("libvirt", "web", "qemu+ssh://me@h/system", 0)),
    ],
)
def test_addresses(text: str, expected: tuple[str, str, str, int]) -> None:
    assert transport.parse(text)[:4] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "tcp:host",
        "tcp:h:99999",
        "vsock:a:1",
        "http://x",
        "libvirt+ssh://h",
        "libvirt+ssh://-oX/d",
        "libvirt:",
    ],
)
def test_what_is_not_an_address_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QGA_CONNECT", raising=False)
    with pytest.raises(AddressError):
        Client(text or None)


def test_the_address_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGA_CONNECT", "tcp:localhost:1")
    with pytest.raises(AgentUnreachable, match=r"^tcp:localhost:1: nobody listens"):
        Client().guest_ping()


def test_libvirt_by_virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for virsh that answers as virsh does: none here has a domain with an agent."""
    virsh = tmp_path / "virsh"
    virsh.write_text(f"#!{sys.executable}\n" + VIRSH)
    virsh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with Client("libvirt+ssh://host/web") as guest:
        assert guest.guest_get_host_name().host_name == "--connect=qemu+ssh://host/system --domain=web"
        with pytest.raises(CommandNotFound, match="does not have"):
            guest.call("guest-missing")
        with pytest.raises(CommandFailed, match="guest-bad: broken"):
            guest.call("guest-bad")
        with pytest.raises(AgentUnreachable, match="not connected"):
            guest.call("guest-gone")


def test_libvirt_by_its_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for libvirt-python that hands on what it is asked."""
    asked: list[tuple[Any, ...]] = []

    class LibvirtError(Exception):
        pass

    class Connection:
        def lookupByName(self, name: str) -> str:
            if name != "web":
                raise LibvirtError(f"Domain not found: no domain with matching name '{name}'")
            return name

        def close(self) -> None:
            asked.append(("closed",))

    def ask(domain: str, text: str, seconds: int, flags: int) -> str:
        asked.append((domain, orjson.loads(text), seconds, flags))
        if "guest-info" in text:
            raise LibvirtError("Guest agent is not responding: QEMU guest agent is not connected")
        return '{"return": {}}'

    libvirt, libvirt_qemu = ModuleType("libvirt"), ModuleType("libvirt_qemu")
    vars(libvirt).update(libvirtError=LibvirtError, open=lambda _: Connection(), registerErrorHandler=lambda *_: None)
    vars(libvirt_qemu).update(qemuAgentCommand=ask)
    for module in (libvirt, libvirt_qemu):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with Client("libvirt:web", timeout=7) as guest:
        guest.guest_ping()
        domain, body, seconds, flags = asked[-1]
        assert (domain, body, flags) == ("web", {"execute": "guest-ping"}, 0)
        assert 6 <= seconds <= 7
        with pytest.raises(AgentUnreachable, match="libvirt:web: Guest agent is not responding"):
            guest.call("guest-info")
    assert asked[-1] == ("closed",)
    with pytest.raises(AgentUnreachable, match="Domain not found"):
        Client("libvirt:db").guest_ping()


VIRSH = """
import json, sys
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
asked = json.loads(words["--cmd"])["execute"]
why = {"guest-missing": "The command guest-missing has not been found", "guest-bad": "broken"}.get(asked)
if why:
    sys.exit(f"error: internal error: unable to execute QEMU agent command '{asked}': {why}")
if asked == "guest-gone":
    sys.exit("error: Guest agent is not responding: QEMU guest agent is not connected")
name = f"--connect={words['--connect']} --domain={words['--domain']}"
print(json.dumps({"return": {"host-name": name} if asked == "guest-get-host-name" else {}}))
"""
