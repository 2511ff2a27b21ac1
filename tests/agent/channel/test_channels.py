"""A real agent on each kind of channel that this machine has, with hosts that misbehave."""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
import tty
from pathlib import Path

import pytest

from qga.agent.channel.stream import LULL
from tests.lines import Closed, Lines
from tests.running import RunningAgent
from tests.until import until

pytestmark = [pytest.mark.forks, pytest.mark.slow]

PING = b'{"execute":"guest-ping"}\n'
PONG: dict[str, object] = {"return": {}}
SOON = 10.0  # seconds that anything may take before it counts as hung


def ask(peer: Lines, request: bytes = PING) -> object:
    peer.send(request)
    return json.loads(peer.read_line(SOON))


def test_answers_and_ends_on_sigterm(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        assert ask(peer) == PONG
        assert agent.terminate() == 0
        with pytest.raises(Closed):
            peer.read_line(SOON)


def test_one_clients_half_request_never_reaches_the_next(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        peer.send(b'{"execute": "guest-sync", "arguments": {"id": 1')
    with Lines.connect(path) as peer:
        assert ask(peer) == PONG


def test_next_client_waits_for_its_turn(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as first, Lines.connect(path) as second:
        second.send(PING)
        assert ask(first) == PONG
        assert second.read_available(0.2) == b""
        first.close()
        assert json.loads(second.read_line(SOON)) == PONG


def test_client_that_leaves_with_unread_replies(agent: RunningAgent, path: str) -> None:
    for _ in range(20):
        with Lines.connect(path) as peer:
            peer.send(PING * 1000)
    with Lines.connect(path) as peer:
        assert ask(peer) == PONG


def test_client_that_resets_the_connection(agent: RunningAgent, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(path)
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.sendall(PING * 10)
        agent.settle()
    with Lines.connect(path) as peer:
        assert ask(peer) == PONG


def flood(peer: Lines) -> None:
    """Send until the agent takes no more: it has stopped reading."""
    with pytest.raises(TimeoutError):  # noqa: PT012
        while True:
            peer.send(b'{"execute":"guest-info"}\n' * 1000, timeout=1)


def test_client_that_never_reads_is_not_read_from_and_costs_nothing(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        flood(peer)
        agent.settle(2 * LULL)  # within which it gives back memory, once
        before = agent.cpu_seconds()
        assert agent.wake_ups_in(0.5) == 0
        assert agent.cpu_seconds() - before < 0.1
    with Lines.connect(path) as peer:
        assert ask(peer) == PONG


def test_sigterm_ends_an_agent_whose_client_does_not_read(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        flood(peer)
        assert agent.terminate() == 0


def test_client_that_reads_late_gets_every_reply_once_and_in_order(agent: RunningAgent, path: str) -> None:
    requests = b"".join(b'{"execute":"guest-sync","arguments":{"id":%d}}\n' % n for n in range(20000))
    with Lines.connect(path) as peer:
        sent = 0
        while sent < len(requests):
            try:
                sent += os.write(peer.descriptor, requests[sent : sent + 65536])
            except BlockingIOError:
                break
        assert sent > 65536
        agent.settle()
        for n in range(requests[:sent].count(b"\n")):
            assert json.loads(peer.read_line(SOON)) == {"return": n}


def test_half_close_still_gets_the_replies_that_are_due(agent: RunningAgent, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(PING * 3)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as replies:
            assert [json.loads(line) for line in replies] == [PONG] * 3


def test_request_of_many_megabytes_is_served(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        text = b"x" * (8 << 20)
        peer.send(b'{"execute":"guest-ping","id":"%s"}\n' % text)
        assert json.loads(peer.read_line(60)) == {"return": {}, "id": text.decode()}


def test_delimiter_comes_right_before_the_reply(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        peer.send(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}\n' + PING)
        stale = json.loads(peer.read_line(SOON))
        assert stale["error"]["desc"] == "JSON parse error, stray '\ufffd'"
        assert peer.read_line(SOON).startswith(b"\xff{")
        assert json.loads(peer.read_line(SOON)) == PONG
        assert peer.read_available(0.2) == b""


@pytest.mark.parametrize("state", ["no client", "idle client"])
def test_idle_agent_does_not_wake_up(agent: RunningAgent, path: str, state: str) -> None:
    peer = Lines.connect(path)
    assert ask(peer) == PONG
    if state == "no client":
        peer.close()
    assert agent.wake_ups_in(1.5) == 0
    peer.close()


def test_the_loop_notifies_the_watchdog(tmp_path: Path, path: str) -> None:
    options = ("-m", "unix-listen", "-p", path)
    with RunningAgent(tmp_path, *options, env={"WATCHDOG_USEC": "400000"}) as agent:
        before = time.monotonic()
        assert [agent.notification() for _ in range(4)] == ["WATCHDOG=1"] * 4
        assert time.monotonic() - before > 0.5
    another = tmp_path / "another"
    another.mkdir()
    with RunningAgent(another, *options, env={"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}) as agent:
        assert agent.terminate() == 0
        assert agent.notification() == "STOPPING=1"


def test_agent_without_descriptors_waits_for_one(agent: RunningAgent, path: str) -> None:
    with Lines.connect(path) as peer:
        assert ask(peer) == PONG
    agent.settle()  # it has closed what the start and that client needed
    limits = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
    with Lines.connect(path) as peer:
        peer.send(PING)
        assert agent.wake_ups_in(1.5) <= 3
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, limits)
        assert json.loads(peer.read_line(SOON)) == PONG
    assert "cannot accept a client: Too many open files" in agent.log.read_text()


def test_socket_that_an_earlier_agent_left_is_replaced(tmp_path: Path, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path), Lines.connect(path) as peer:
        assert ask(peer) == PONG


def start(tmp_path: Path, *options: str, **keywords: object) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        [sys.executable, "-m", "qga", "-t", str(tmp_path), "-c", os.devnull, *options],
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_path_that_is_not_a_socket_is_left_alone(tmp_path: Path, path: str) -> None:
    Path(path).write_text("precious")
    result = start(tmp_path, "-m", "unix-listen", "-p", path)
    assert (result.returncode, result.stderr) == (
        1,
        f"qemu-ga: error opening channel '{path}': Address already in use\n",
    )
    assert Path(path).read_text() == "precious"


def test_missing_port_is_an_error(tmp_path: Path) -> None:
    result = start(tmp_path, "-p", "/dev/virtio-ports/org.example.nowhere")
    assert (result.returncode, result.stderr) == (
        1,
        "qemu-ga: error opening channel '/dev/virtio-ports/org.example.nowhere': No such file or directory\n",
    )


def test_vsock_listens(tmp_path: Path) -> None:
    """Being reached over it is shown in the guest: loopback needs a module that this machine may lack."""
    if not os.path.exists("/dev/vsock"):
        pytest.skip("no /dev/vsock: this kernel has no vsock")
    with RunningAgent(tmp_path, "-m", "vsock-listen", "-p", "4294967295:40961") as agent:
        assert agent.terminate() == 0


def ask_until_answered(peer: Lines) -> object:
    """Repeat a sync as a host does on a serial line, where nothing shows whether the agent has it open."""
    deadline = time.monotonic() + SOON
    while True:
        peer.send(PING)
        try:
            return json.loads(peer.read_line(0.5))
        except TimeoutError:
            assert time.monotonic() < deadline, "no answer"


class SerialPair:
    """An emulated serial line: ``path`` is the guest's end, kept the same over hang-ups."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "ttyS0"
        self.plug_in()

    def plug_in(self) -> None:
        host, guest = os.openpty()
        tty.setraw(guest)  # a real line does not echo what comes before the agent has opened it
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(guest))
        self.host, self._guest = Lines(host), guest

    def release(self) -> None:
        """Close our descriptor of the agent's end: the agent has opened it, and alone holds it now."""
        os.close(self._guest)

    def hang_up(self) -> None:
        self.host.close()


def test_isa_serial_answers_and_opens_again_after_a_hang_up(tmp_path: Path) -> None:
    line = SerialPair(tmp_path)
    with RunningAgent(tmp_path, "-m", "isa-serial", "-p", str(line.path)) as agent:
        line.release()
        assert ask(line.host) == PONG
        assert ask(line.host, b'{"execute":"guest-sync","arguments":{"id":10}}\r\n') == {"return": 10}
        assert agent.wake_ups_in(0.5) == 0
        line.hang_up()
        agent.settle()
        assert agent.alive
        line.plug_in()
        assert ask_until_answered(line.host) == PONG
        line.release()
        assert agent.terminate() == 0
        line.hang_up()


def test_serial_line_passes_every_byte_unchanged(tmp_path: Path) -> None:
    """Control characters are not echoed, do not stop the line and are not translated."""
    line = SerialPair(tmp_path)
    with RunningAgent(tmp_path, "-m", "isa-serial", "-p", str(line.path)):
        line.release()
        line.host.send(b"\x03\x11\x13\x1a\x04\xff")
        line.host.send(b'{"execute":"guest-sync-delimited","arguments":{"id":3}}\r')
        line.host.read_until(b"\xff", SOON)
        assert json.loads(line.host.read_line(SOON)) == {"return": 3}
        line.hang_up()


def test_retry_path_waits_for_a_port_and_obeys_sigterm_meanwhile(tmp_path: Path) -> None:
    with RunningAgent(tmp_path, "-r", "-p", str(tmp_path / "port")) as agent:
        until(lambda: "No such file or directory" in agent.log.read_text())
        assert agent.terminate(timeout=3) == 0


def test_retry_path_opens_a_port_that_appears_later(tmp_path: Path) -> None:
    line = SerialPair(tmp_path)
    elsewhere = line.path.rename(tmp_path / "later")
    with RunningAgent(tmp_path, "-r", "-m", "isa-serial", "-p", str(line.path)) as agent:
        elsewhere.rename(line.path)
        assert ask_until_answered(line.host) == PONG
        assert agent.alive
        line.release()
    line.hang_up()


def activated(tmp_path: Path, sock: socket.socket, count: int = 1) -> list[str]:
    """A command that starts the agent as systemd would, with a socket as descriptor 3."""
    agent = f"{sys.executable} -m qga -c {os.devnull} -t {tmp_path}"
    return ["bash", "-c", f"LISTEN_PID=$$ LISTEN_FDS={count} exec {agent} 3<&{sock.fileno()}"]


def test_socket_activation(tmp_path: Path, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        agent = subprocess.Popen(activated(tmp_path, sock), pass_fds=[sock.fileno()])
    try:
        with Lines.connect(path) as peer:
            assert ask(peer) == PONG
    finally:
        agent.terminate()
        assert agent.wait(SOON) == 0


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [
        (socket.SOCK_STREAM, 2, "qemu-ga only supports listening on one socket"),
        (socket.SOCK_DGRAM, 1, "unsupported listen fd type"),
    ],
)
def test_socket_activation_with_unusable_descriptors(
    tmp_path: Path, path: str, kind: socket.SocketKind, count: int, said: str
) -> None:
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(path)
        result = subprocess.run(
            activated(tmp_path, sock, count), pass_fds=[sock.fileno()], capture_output=True, text=True, timeout=30
        )
    assert (result.returncode, result.stderr) == (1, f"qemu-ga: {said}\n")
