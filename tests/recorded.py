"""The exchanges that were recorded with QEMU's agent: ``golden/README.md`` says what the cases are."""

from __future__ import annotations

import json
from typing import Any

from tests.lines import Lines
from tests.repository import REPOSITORY

CASES: list[dict[str, Any]] = json.loads((REPOSITORY / "tests" / "golden" / "wire.json").read_text())
SYNC = b'{"execute": "guest-sync-delimited", "arguments": {"id": 4711}}\n'
SYNCED: dict[str, Any] = {"ff": True, "reply": {"return": 4711}}


def parsed(line: bytes) -> dict[str, Any]:
    """Return a line of an agent in the form of the cases."""
    return {"ff": True, "reply": json.loads(line[1:])} if line.startswith(b"\xff") else json.loads(line)


def expected(case: dict[str, Any], replies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the recorded replies, with the actual text where only the error class counts."""
    recorded: list[dict[str, Any]] = json.loads(json.dumps(case["replies"]))
    if case.get("compare") == "class":
        for mine, theirs in zip(replies, recorded, strict=True):
            if "error" in theirs and "error" in mine:
                theirs["error"]["desc"] = mine["error"]["desc"]
    return recorded


def play(lines: Lines, case: dict[str, Any], patience: float = 30) -> None:
    """Send a case to an agent that waits for a request, and compare what it answers: no line less, and none more."""
    lines.send(b"\xff" + SYNC)
    while parsed(lines.read_line(patience)) != SYNCED:  # a complaint about what the case before this left unfinished
        pass
    lines.send(case["send"].encode("latin-1"))
    replies = [parsed(lines.read_line(patience)) for _ in case["replies"]]
    assert replies == expected(case, replies), case["name"]
    assert lines.read_available(0.05) == b"", case["name"]
