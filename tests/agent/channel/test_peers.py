"""Who may connect to the unix socket: its mode from the start, and socket-users, with real other users."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.agent.channel.listener import listen_unix
from qga.agent.channel.peers import Peers
from qga.agent.config.options import ConfigError
from tests.lines import Lines
from tests.running import RunningAgent

PING = b'{"execute":"guest-ping"}\n'
NOBODY = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

# Become the user, connect, ask; what came back, or why nothing did.
CLIENT = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
with socket.socket(socket.AF_UNIX) as sock:
    try:
        sock.connect(sys.argv[2])
        sock.settimeout(20)
        sock.sendall(b'{"execute":"guest-ping"}\\n')
        print(sock.recv(100))
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Yield a directory that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="qga-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def ask_as(uid: int, path: Path) -> str:
    argv = [sys.executable, "-c", CLIENT, str(uid), str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout.strip()


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_the_socket_is_never_open_to_others_than_its_owner(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "sock")
    modes = []
    listen = socket.socket.listen

    def look(sock: socket.socket, backlog: int) -> None:
        modes.append(os.stat(path).st_mode)
        listen(sock, backlog)

    monkeypatch.setattr(socket.socket, "listen", look)
    before = os.umask(umask)
    try:
        listen_unix(path).close()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.forks
@needs_root
def test_another_user_cannot_open_the_socket(directory: Path) -> None:
    path = directory / "agent.sock"
    with RunningAgent(directory, "-m", "unix-listen", "-p", str(path)):
        assert ask_as(NOBODY, path) == "PermissionError"
        assert "return" in ask_as(0, path)


@pytest.mark.forks
@needs_root
def test_only_the_users_listed_are_served(directory: Path) -> None:
    path, audit = directory / "agent.sock", directory / "audit"
    options = ("-m", "unix-listen", "-p", str(path), "--socket-users", "nobody,0", "--audit-log", str(audit))
    with RunningAgent(directory, *options) as agent:
        path.chmod(0o666)
        assert "return" in ask_as(NOBODY, path)
        assert ask_as(1, path) in ("b''", "ConnectionResetError", "BrokenPipeError")
        assert ask_as(1, path) in ("b''", "ConnectionResetError", "BrokenPipeError")
        with Lines.connect(path) as peer:  # root, and the agent has not suffered
            peer.send(PING)
            assert json.loads(peer.read_line(10)) == {"return": {}}
        log_text = agent.log.read_text()
    assert log_text.count("of user 1 is refused: socket-users does not list it") == 1
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [record["peer"]["uid"] for record in records if "peer" in record] == [NOBODY, 0]


@pytest.mark.forks
@needs_root
def test_root_is_refused_unless_listed(directory: Path) -> None:
    path = directory / "agent.sock"
    with RunningAgent(directory, "-m", "unix-listen", "-p", str(path), "--socket-users", str(NOBODY)):
        assert ask_as(0, path) in ("b''", "ConnectionResetError", "BrokenPipeError")


def test_without_a_list_every_peer_is_served_and_vsock_has_no_users() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert Peers((), None).admits(ours)
        assert Peers((str(os.getuid()),), None).admits(ours)
        assert not Peers((str(os.getuid() + 1),), None).admits(ours)
    with socket.socket(socket.AF_INET) as other:
        assert Peers(("4711",), None).admits(other)


def test_an_unknown_user_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="socket-users: there is no user 'no-such-user'"):
        Peers(("no-such-user",), None)
