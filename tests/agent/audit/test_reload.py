"""The audit log with a policy: it names the rule that decided, and SIGHUP reopens it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from qga.agent import selftest
from qga.agent.cli import main
from tests.lines import Lines
from tests.running import RunningAgent
from tests.until import until

SOON = 10.0
POLICY = """default = "deny"
[[rule]]
allow = ["guest-ping", "guest-get-time"]
[[rule]]
allow = ["guest-exec"]
path = ["/usr/bin/true"]
"""


def ask(peer: Lines, name: str, **arguments: object) -> Any:
    peer.send(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
    return json.loads(peer.read_line(SOON))


@pytest.mark.forks
def test_rules_are_recorded_and_a_rotated_file_is_opened_again(tmp_path: Path) -> None:
    policy, log, sock = tmp_path / "policy.toml", tmp_path / "audit.log", tmp_path / "sock"
    policy.write_text(POLICY)
    options = ("-m", "unix-listen", "-p", str(sock), "--policy", str(policy), "--audit-log", str(log))
    with RunningAgent(tmp_path, *options) as agent, Lines.connect(sock) as peer:
        ask(peer, "guest-ping")
        ask(peer, "guest-exec", path="/usr/bin/true")
        ask(peer, "guest-exec", path="/usr/bin/false")
        ask(peer, "guest-get-users")
        records = [json.loads(line) for line in log.read_text().splitlines()]
        decided = [(r["command"], r["decision"], r["rule"]) for r in records if r["event"] == "command"]
        rules = [rule for _, _, rule in decided]
        assert [decided[n][:2] for n in range(4)] == [
            ("guest-ping", "allowed"),
            ("guest-exec", "allowed"),
            ("guest-exec", "refused"),
            ("guest-get-users", "refused"),
        ]
        assert f"{policy}, line 3" in rules[0]
        assert f"{policy}, line 5" in rules[1]
        assert f"{policy}, line 1" in rules[2]

        rotated = log.rename(tmp_path / "audit.log.1")
        agent.process.send_signal(signal.SIGHUP)
        until(log.exists)
        assert ask(peer, "guest-ping") == {"return": {}}
        records = [json.loads(line) for line in log.read_text().splitlines()]
        # Before or after it there may be the record of the end of `true`.
        assert [record["command"] for record in records if record["event"] == "command"] == ["guest-ping"]
        assert records[0]["seq"] == max(json.loads(line)["seq"] for line in rotated.read_text().splitlines()) + 1


def test_limits_and_self_test_follow_the_profile_in_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "qemu-ga.conf"
    conf.write_text("[general]\nprofile=info\n")
    monkeypatch.setenv("QGA_CONF", str(conf))
    assert main(["--print-unit"]) == 0
    assert "User=qemu-ga" in capsys.readouterr().out
    monkeypatch.setattr(selftest, "CHECKS", [row for row in selftest.CHECKS if row[0] == "policy"])
    main(["--self-test"])
    said = capsys.readouterr().out
    assert "commands are allowed by the profile info" in said
    assert "become root" not in said
