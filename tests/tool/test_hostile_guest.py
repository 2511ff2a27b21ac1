"""Whatever a guest answers: every subcommand ends with a status that means something and a sentence, and no method of
the library raises anything but its own errors. Seeded: what failed once fails again.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qga.client import AsyncClient, Client, ClientError, MalformedReply
from qga.client.reading import checked, shown
from qga.protocol import schema
from qga.tool.remote.guest_tty import GuestTerminal
from qga.tool.remote.launch import Program
from tests import hostile

pytestmark = [pytest.mark.forks, pytest.mark.slow]


@pytest.mark.parametrize("words", list(hostile.every_subcommand()), ids=" ".join)
def test_every_subcommand(words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "true")
    for part, seeds in ((0.4, 1), (0.1, 3 if words in hostile.WORDS else 0)):
        for seed in range(seeds):
            directory = tmp_path / f"{part}.{seed}"
            directory.mkdir()
            with hostile.HostileGuest(f"{words} {part} {seed}", part) as guest:
                status, out, err = hostile.run(guest, hostile.place(words, str(directory)))
            assert hostile.complaint(words, status, out, err) is None, (part, seed, status, out[:300], err[:600])


def arguments(method: Any) -> dict[str, Any]:
    """What a generated method needs, of the right types as far as it matters."""
    needed = [one for one in inspect.signature(method).parameters.values() if one.default is one.empty]
    return {one.name: {"int": 1, "str": "x"}.get(one.annotation, []) for one in needed}


@pytest.mark.parametrize("command", list(schema.load().commands.values()), ids=lambda command: command.name)
def test_every_method(command: schema.Command) -> None:
    for seed in range(2):
        with hostile.HostileGuest(f"{command.name} {seed}") as guest, Client(guest.address, timeout=5) as client:
            method = getattr(client, command.function)
            with contextlib.suppress(ClientError):
                method(**arguments(method))


@pytest.mark.parametrize("seed", range(6))
def test_files_programs_and_freezes(seed: int) -> None:
    with hostile.HostileGuest(seed, 0.3) as guest, Client(guest.address, timeout=5) as client:
        with contextlib.suppress(ClientError):
            client.run(["sh"], timeout=0.2)
        with contextlib.suppress(ClientError), client.freeze():
            pass
        for mode in ("r", "w"):
            with contextlib.suppress(ClientError), client.open("/f", mode) as file:
                file.write(b"x" * 99) if mode == "w" else file.read(7)
                file.seek(0, 2)


@pytest.mark.parametrize("seed", range(6))
def test_the_asyncio_client(seed: int) -> None:
    async def there(address: str) -> None:
        async with AsyncClient(address, timeout=5) as client:
            with contextlib.suppress(ClientError):
                await client.run(["sh"], timeout=0.2)
            with contextlib.suppress(ClientError):
                async with client.freeze():
                    pass
            for mode in ("r", "w"):
                with contextlib.suppress(ClientError):
                    async with client.open("/f", mode) as file:
                        await (file.write(b"x" * 99) if mode == "w" else file.read(7))
                        await file.seek(0, 2)

    with hostile.HostileGuest(seed, 0.3) as guest:
        asyncio.run(there(guest.address))


@pytest.mark.parametrize("seed", range(8))
def test_a_terminal(seed: int) -> None:
    async def there(address: str) -> None:
        async with AsyncClient(address, timeout=5) as client:
            terminal = GuestTerminal(client, 60)
            with contextlib.suppress(ClientError):
                await terminal.begin(Program([], "", {}, ["python3"], 60, (24, 80)))
                for _ in range(4):
                    terminal.type(b"x")
                    await terminal.exchange()
            with contextlib.suppress(ClientError):
                await terminal.end()

    with hostile.HostileGuest(seed, 0.15) as guest:
        guest.programs["sh"] = lambda words, data: (0, b"/\npython3\npython3\n", b"")
        guest.programs["python3"] = lambda words, data: (0, b"", b"")
        guest.files.update({"//in": bytearray(), "//out.0": bytearray(b"\x1b[2J"), "//taken": bytearray(b"1\nx\n\n")})
        asyncio.run(there(guest.address))


FILESYSTEM = {"name": "vda1", "mountpoint": "/", "type": "ext4", "disk": []}


@pytest.mark.parametrize(
    ("command", "reply", "wrong"),
    [
        ("guest-get-time", "5", "expected an integer of 64 bits, got '5'"),
        ("guest-get-time", True, "expected an integer of 64 bits, got true"),
        ("guest-get-time", 2**63, f"expected an integer of 64 bits, got {2**63}"),
        ("guest-get-time", 1e308, "expected an integer of 64 bits, got 1e+308"),
        ("guest-get-fsinfo", {"a": 1}, "expected a list, got an object of 1 members"),
        ("guest-get-fsinfo", [FILESYSTEM, None], "[1]: expected an object, got null"),
        ("guest-get-fsinfo", [{"name": "x"}], "[0]: expected a member mountpoint, got none"),
        ("guest-get-fsinfo", [{**FILESYSTEM, "used-bytes": -1}],
         "[0].used-bytes: expected an unsigned integer of 64 bits, got -1"),
        ("guest-get-fsinfo", [FILESYSTEM, {**FILESYSTEM, "disk": ["\x9b" * 99]}],
         "[1].disk[0]: expected an object, got '" + "\\x9b" * 60 + "\\u2026'"),
        ("guest-get-cpustats", [{"type": "linux", "cpu": 0}], "[0]: expected a member user, got none"),
        ("guest-info", {"version": "1", "supported_commands": {}},
         "supported_commands: expected a list, got an object of 0 members"),
        ("guest-exec-status", {"exited": 1}, "exited: expected true or false, got 1"),
        ("guest-get-load", {"load1m": [], "load5m": 0, "load15m": 0}, "load1m: expected a number, got a list of 0"),
    ],
)  # fmt: skip
def test_an_error_names_command_member_and_what_came(command: str, reply: object, wrong: str) -> None:
    with pytest.raises(MalformedReply) as raised:
        checked(command, reply)
    assert str(raised.value) == f"{command}: the agent's reply is wrong: {wrong}"


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("guest-get-fsinfo", [{**FILESYSTEM, "of-tomorrow": [{}]}]),
        ("guest-fsfreeze-status", "thawing"),
        ("guest-get-cpustats", [{"type": "plan9"}]),
        ("guest-of-tomorrow", [None]),
        ("guest-ping", {"of-tomorrow": 1}),
    ],
)
def test_an_agent_of_tomorrow_is_understood(command: str, reply: object) -> None:
    assert checked(command, reply) is reply


def test_what_is_shown_of_a_guest_is_a_line() -> None:
    for leaf in hostile.LEAVES:
        assert len(shown(leaf)) < 1000
        assert shown(leaf).isascii()
        assert shown(leaf).isprintable()
