"""What a host can make the agent hold or send is bounded, and the error names the key that says how much."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import failed
from tests.lines import Lines
from tests.running import RunningAgent
from tests.until import until

pytestmark = pytest.mark.forks

SOON = 20.0  # seconds that anything may take before it counts as hung
LIMITS = ("--max-handles=3", "--max-execs=2", "--max-captured=5000", "--max-reply=2000")


class Peer:
    def __init__(self, lines: Lines, agent: RunningAgent) -> None:
        self.lines, self.agent = lines, agent

    def line(self, name: str, **arguments: object) -> bytes:
        """Return the raw reply."""
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.lines.send(json.dumps({"execute": name, "arguments": given}).encode() + b"\n")
        return self.lines.read_line(SOON)

    def ask(self, name: str, **arguments: object) -> Any:
        return json.loads(self.line(name, **arguments))

    def start(self, *argv: str, **arguments: object) -> int:
        pid: int = self.ask("guest-exec", path=argv[0], arg=argv[1:], **arguments)["return"]["pid"]
        return pid

    def wait_for_end(self, pid: int) -> None:
        """Wait until a program is reaped, its output captured, without guest-exec-status, which would forget it."""
        until(lambda: not Path(f"/proc/{pid}").exists())
        self.agent.settle()

    def ended(self, pid: int) -> Any:
        def look() -> Any:
            status = self.ask("guest-exec-status", pid=pid)["return"]
            return status if status["exited"] else None

        return until(look)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    path = str(tmp_path / "agent.sock")
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path, *LIMITS) as agent, Lines.connect(path) as lines:
        yield Peer(lines, agent)


def test_handles_are_bounded(peer: Peer) -> None:
    handles = [peer.ask("guest-file-open", path="/dev/null")["return"] for _ in range(3)]
    refusal = failed("3 files are open already (max-handles): close one first")
    assert peer.ask("guest-file-open", path="/dev/null") == refusal
    assert peer.ask("guest-file-close", handle=handles[0]) == {"return": {}}
    assert "return" in peer.ask("guest-file-open", path="/dev/null")
    assert peer.ask("guest-file-open", path="/dev/null") == refusal


def test_running_programs(peer: Peer) -> None:
    pids = [peer.start("cat", input_data="", capture_output=True), peer.start("sleep", "2")]
    peer.ended(pids[0])
    pids[0] = peer.start("sleep", "2")
    assert peer.ask("guest-exec", path="true") == failed(
        "2 programs are running already (max-execs): wait for one to end"
    )
    for pid in pids:
        assert peer.ended(pid)["exitcode"] == 0
    assert peer.ended(peer.start("true"))["exitcode"] == 0


def test_captured_output_is_bounded_in_total(peer: Peer) -> None:
    first = peer.start("head", "-c", "4500", "/dev/zero", capture_output=True)
    peer.wait_for_end(first)
    second = peer.start("head", "-c", "600", "/dev/zero", capture_output=True)
    cut = peer.ended(second)
    assert (len(base64.b64decode(cut["out-data"])), cut["out-truncated"]) == (500, True)
    peer.ended(first)
    whole = peer.ended(peer.start("head", "-c", "600", "/dev/zero", capture_output=True))
    assert (len(base64.b64decode(whole["out-data"])), whole["out-truncated"]) == (600, False)


def test_reply_that_can_say_so_is_cut_short(peer: Peer, tmp_path: Path) -> None:
    script = "head -c 3000 /dev/zero; head -c 300 /dev/zero >&2"
    pid = peer.start("sh", "-c", script, capture_output=True)
    peer.wait_for_end(pid)
    line = peer.line("guest-exec-status", pid=pid)
    assert 1500 < len(line) <= 2000
    status = json.loads(line)["return"]
    assert (status["out-truncated"], status["err-truncated"]) == (True, False)
    assert len(base64.b64decode(status["err-data"])) == 300

    data = bytes(range(256)) * 20
    (tmp_path / "file").write_bytes(data)
    handle = peer.ask("guest-file-open", path=str(tmp_path / "file"))["return"]
    found, eof = b"", False
    while not eof:
        line = peer.line("guest-file-read", handle=handle, count=100_000)
        assert len(line) <= 2000
        answer = json.loads(line)["return"]
        found, eof = found + base64.b64decode(answer["buf-b64"]), answer["eof"]
    assert found == data


def test_reply_that_cannot_is_refused(peer: Peer) -> None:
    said = peer.ask("guest-info")["error"]["desc"]
    assert said.startswith("the reply has ")
    assert said.endswith(" bytes, more than 2000 (max-reply)")
    peer.lines.send(b'{"execute":"guest-ping","id":"%s"}\n' % (b"x" * 3000))
    assert json.loads(peer.lines.read_line(SOON))["error"]["desc"].endswith("more than 2000 (max-reply)")
    peer.lines.send(b'{"execute":"guest-info","id":5}\n')
    assert json.loads(peer.lines.read_line(SOON))["id"] == 5


@pytest.mark.slow
def test_defaults_bound_a_thousand_of_each(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path) as agent, Lines.connect(path) as lines:
        peer = Peer(lines, agent)
        before = agent.resident()
        opened = [peer.ask("guest-file-open", path="/dev/null") for _ in range(1000)]
        assert [("return" in reply) for reply in opened] == [True] * 512 + [False] * 488
        started = [peer.ask("guest-exec", path="sleep", arg=["4"], capture_output=True) for _ in range(1000)]
        assert [("return" in reply) for reply in started] == [True] * 128 + [False] * 872
        assert agent.resident() - before < 8 << 20
        for reply in opened[:512]:
            assert peer.ask("guest-file-close", handle=reply["return"]) == {"return": {}}
        for reply in started[:128]:
            assert peer.ended(reply["return"]["pid"])["exitcode"] == 0
        assert "return" in peer.ask("guest-info")
