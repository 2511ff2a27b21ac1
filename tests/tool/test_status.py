"""qga status: what is made of files of /proc, which a guest may fill as it likes; and JSON as the agent spells it."""

from __future__ import annotations

import json

import pytest

from qga.testing import FakeGuest
from qga.tool import cli
from qga.tool.commands.status import Memory, memory, uptime


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12.50 3.1\n", 12.5), ("7 1\n", 7.0), ("", None), ("nan 1", None), ("-1 1", None), ("1e5 1", None), ("x", None),
     ("9" * 20 + " 1", None), ("9" * 5000 + " 1", None), ("\u0663 1", None)],
)  # fmt: skip
def test_uptime(text: str, expected: float | None) -> None:
    assert uptime(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("MemTotal:  9 kB\nMemFree: 1 kB\nMemAvailable: 3 kB\n", Memory(9 << 10, 3 << 10)),
     ("MemTotal: 9 kB\n", None), ("MemTotal: 3 kB\nMemAvailable: 9 kB\n", None), ("MemTotal\nMemAvailable\n", None),
     ("MemTotal: -9 kB\nMemAvailable: 3 kB\n", None), (f"MemTotal: {'9' * 5000} kB\nMemAvailable: 3 kB\n", None)],
)  # fmt: skip
def test_memory(text: str, expected: Memory | None) -> None:
    assert memory(text) == expected


def test_json_has_the_names_of_the_schema(fake_guest: FakeGuest, capsys: pytest.CaptureFixture[str]) -> None:
    filesystem = {"name": "vda1", "mountpoint": "/", "type": "ext4", "disk": [], "used-bytes": 1, "total-bytes": 2}
    commands = {"version": "9.9.9", "supported_commands": [{"name": "x", "enabled": True, "success-response": True}]}
    fake_guest.answer("guest-get-fsinfo", [filesystem])
    fake_guest.answer("guest-info", commands)
    fake_guest.fault("guest-get-users", error="not now")
    assert cli.main(["-c", fake_guest.address, "--json", "status"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["os", "host", "load", "disks", "interfaces", "users", "uptime", "memory"]
    assert (found["disks"], found["users"], found["uptime"]) == ([filesystem], None, None)
    assert cli.main(["-c", fake_guest.address, "--json", "info"]) == 0
    assert json.loads(capsys.readouterr().out) == commands
