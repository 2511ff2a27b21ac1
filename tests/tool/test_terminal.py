"""Nothing that a guest says moves the terminal, whatever way it is printed; programs get it all the same."""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Sequence

import pytest

from qga.protocol.errors import CommandError
from qga.testing import FakeGuest
from qga.tool import output
from tests import hostile
from tests.tool.test_commands import drained
from tests.tool.test_tool import TOOL

pytestmark = pytest.mark.forks
CONTROLS = [
    *map(chr, (*range(0x20), *range(0x7F, 0xA0))),
    *"\u200b\u200e\u200f\u061c\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\U000e0041",
]
EVIL = "a" + "".join(CONTROLS) + "ä€😀z"
FILESYSTEM = {"name": EVIL, "mountpoint": EVIL, "type": EVIL, "disk": [], "used-bytes": 1, "total-bytes": 2}
COMMAND = {"name": EVIL, "enabled": True, "success-response": True}
ADDRESS = {"ip-address": EVIL, "ip-address-type": "ipv4", "prefix": 8}


@pytest.fixture
def evil(fake_guest: FakeGuest) -> FakeGuest:
    for command, value in {
        "guest-get-osinfo": {"pretty-name": EVIL, "kernel-release": EVIL},
        "guest-get-host-name": {"host-name": EVIL},
        "guest-get-users": [{"user": EVIL, "login-time": 1.5}],
        "guest-get-fsinfo": [FILESYSTEM],
        "guest-network-get-interfaces": [{"name": EVIL, "ip-addresses": [ADDRESS]}],
        "guest-fstrim": {"paths": [{"path": EVIL, "error": EVIL}]},
        "guest-ssh-get-authorized-keys": {"keys": [EVIL]},
        "guest-get-diskstats": [{"name": EVIL, "major": 1, "minor": 1, "stats": {"read-ios": 1}}],
        "guest-info": {"version": EVIL, "supported_commands": [COMMAND]},
        "guest-set-memory-blocks": [{"phys-index": 1, "response": "not-found"}],
    }.items():  # fmt: skip
        fake_guest.answer(command, value)
    fake_guest.programs["ls"] = lambda words, data: (1, EVIL.encode(), EVIL.encode())
    fake_guest.files["/f"] = bytearray(EVIL.encode())
    return fake_guest


def steering(text: str, keep: str = "\n") -> set[str]:
    return {letter for letter in text if not letter.isprintable() and letter not in keep}


WORDS = [
    *(["status"], ["info"], ["trim"], ["ls", "/"], ["ssh-key", "list", "joe"], ["memory", "offline", "1"]),
    ["top", "--count", "1", "--interval", "1ms"],
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_in_text(evil: FakeGuest, words: Sequence[str]) -> None:
    status, out, err = hostile.run(evil, words)
    assert (steering(out.decode()), steering(err)) == (set(), set())
    assert "ä€😀z" in out.decode() + err or words[0] == "memory", (status, out, err)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["status", "--json"], ["host", "host-name"]),
        (["info", "--json"], ["version"]),
        (["trim", "--json"], ["paths", 0, "error"]),
        (["ssh-key", "--json", "list", "joe"], [0]),
        (["call", "guest-get-osinfo"], ["pretty-name"]),
        (["guest-get-osinfo"], ["kernel-release"]),
        (["guest-get-fsinfo", "--json"], [0, "mountpoint"]),
    ],
)
def test_in_json_it_is_escaped_and_the_same(
    evil: FakeGuest, words: Sequence[str], place: Sequence[str | int]
) -> None:
    status, out, err = hostile.run(evil, words)
    assert (status, err, steering(out.decode())) == (0, "", set())
    found = json.loads(out)
    for step in place:
        found = found[step]
    assert found == EVIL


@pytest.mark.parametrize("words", [["call", "guest-get-time"], ["guest-get-time"], ["time"], ["cat", "/none"]])
def test_in_errors(evil: FakeGuest, words: Sequence[str]) -> None:
    def fail(**_: object) -> None:
        raise CommandError(EVIL)

    for command in ("guest-get-time", "guest-file-open"):
        evil.answer(command, fail)
    status, out, err = hostile.run(evil, words)
    assert (status, out, err.count("\n"), steering(err)) == (1, b"", 1, set())


def test_a_file_is_text_on_a_terminal_and_itself_elsewhere(evil: FakeGuest) -> None:
    for words in (["cat", "/f"], ["tail", "/f"]):
        assert hostile.run(evil, words)[1] == EVIL.encode()
        pid, leader = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [*TOOL, "-c", evil.address, *words])
        seen = drained(leader).decode()
        os.close(leader)
        assert os.waitpid(pid, 0)[1] == 0
        assert steering(seen, "\r\n\t") == set()
        assert "ä€😀z" in seen


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_letter_that_is_cut_in_two_is_whole(capsys: pytest.CaptureFixture[str], cut: int) -> None:
    data = "ä\r\n€\r\x1b\n".encode()
    text = output._Text()
    text.write(data[:cut])
    text.write(data[cut:])
    assert capsys.readouterr().out == "ä\n€��\n"


def test_json_that_nests_deeply_or_is_not_unicode(capsys: pytest.CaptureFixture[str]) -> None:
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    output.json(deep)
    assert capsys.readouterr().out.count("[") == 901
    output.json({"name": "\udce9"})
    assert json.loads(capsys.readouterr().out) == {"name": "\ufffd"}
