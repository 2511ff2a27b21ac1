from __future__ import annotations

import errno
from pathlib import Path

import pytest

from qga.agent.commands import memory as commands
from qga.agent.context import Context
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.protocol.errors import CommandError
from qga.protocol.schema import Schema
from tests.conftest import now, write
from tests.contexts import context

MEMORY = "/sys/devices/system/memory"


@pytest.fixture
def ctx(host: Host) -> Context:
    for index, state, removable in (
        (0, "online", "0"),
        (2, "going-offline", "1"),
        (10, "offline", None),
        (9, None, None),
    ):
        Path(host.path(f"{MEMORY}/memory{index}")).mkdir(parents=True)
        if state is not None:
            write(host, f"{MEMORY}/memory{index}/state", f"{state}\n")
        if removable is not None:
            write(host, f"{MEMORY}/memory{index}/removable", f"{removable}\n")
    return context(host, Schema({}), Policy())


def block(index: int, online: bool) -> dict[str, object]:
    return {"phys-index": index, "online": online}


def test_listed_by_number(ctx: Context) -> None:
    assert commands.guest_get_memory_blocks(ctx) == [
        {"phys-index": 0, "online": True, "can-offline": False},
        {"phys-index": 2, "online": False, "can-offline": True},
        {"phys-index": 9, "online": True, "can-offline": False},
        {"phys-index": 10, "online": False, "can-offline": False},
    ]


def test_no_hot_plug_and_no_blocks(host: Host) -> None:
    ctx = context(host, Schema({}), Policy())
    assert commands.guest_get_memory_blocks(ctx) == []
    assert now(commands.guest_set_memory_blocks(ctx, mem_blks=[block(1, True)])) == [
        {"phys-index": 1, "response": "operation-not-supported", "error-code": errno.ENOENT}
    ]
    Path(host.path(MEMORY)).mkdir(parents=True)
    with pytest.raises(CommandError, match=r"^guest reported zero memory blocks!$"):
        commands.guest_get_memory_blocks(ctx)


@pytest.mark.parametrize("name", ["state", "removable"])
def test_block_that_cannot_be_read(ctx: Context, name: str) -> None:
    file = Path(ctx.host.path(f"{MEMORY}/memory2/{name}"))
    file.unlink()
    file.mkdir()
    with pytest.raises(CommandError, match=f'^pread sysfs file "{name}": Is a directory$'):
        commands.guest_get_memory_blocks(ctx)


def test_block_whose_state_is_empty(ctx: Context) -> None:
    write(ctx.host, f"{MEMORY}/memory2/state", "")
    with pytest.raises(CommandError, match=r'^pread sysfs file "state": unexpected EOF$'):
        commands.guest_get_memory_blocks(ctx)


def test_every_answer(ctx: Context) -> None:
    wanted = [block(0, True), block(10, True), block(9, True), block(9, False), block(99, True), block(-1, True)]
    assert now(commands.guest_set_memory_blocks(ctx, mem_blks=wanted)) == [
        {"phys-index": 0, "response": "success"},
        {"phys-index": 10, "response": "success"},
        {"phys-index": 9, "response": "success"},
        {"phys-index": 9, "response": "operation-not-supported", "error-code": errno.ENOENT},
        {"phys-index": 99, "response": "not-found", "error-code": errno.ENOENT},
        {"phys-index": 2**64 - 1, "response": "not-found", "error-code": errno.ENOENT},
    ]
    assert ctx.host.read(f"{MEMORY}/memory10/state").startswith("online")


def test_memory_in_use(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: Host, path: str, text: str) -> None:
        assert (path, text) == (f"{MEMORY}/memory0/state", "offline")
        raise OSError(errno.EBUSY, "Device or resource busy", path)

    monkeypatch.setattr(Host, "write", busy)
    assert now(commands.guest_set_memory_blocks(ctx, mem_blks=[block(0, False)])) == [
        {"phys-index": 0, "response": "operation-failed", "error-code": errno.EBUSY}
    ]


def test_block_size_is_hexadecimal(ctx: Context) -> None:
    write(ctx.host, f"{MEMORY}/block_size_bytes", "8000000\n")
    assert commands.guest_get_memory_block_info(ctx) == {"size": 0x8000000}


@pytest.mark.parametrize("content", ["large\n", "1" + "0" * 16])
def test_malformed_block_size(ctx: Context, content: str) -> None:
    write(ctx.host, f"{MEMORY}/block_size_bytes", content)
    with pytest.raises(CommandError, match=r'^sysfs file "block_size_bytes" holds no number$'):
        commands.guest_get_memory_block_info(ctx)


def test_missing_block_size(ctx: Context, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(CommandError, match=r'^open sysfs file "block_size_bytes": No such file or directory$'):
        commands.guest_get_memory_block_info(ctx)
    bare = Host(ctx.host.run, ctx.host.which, str(tmp_path_factory.mktemp("bare")))
    with pytest.raises(CommandError, match=r'^open\("/sys/devices/system/memory/"\): No such file or directory$'):
        commands.guest_get_memory_block_info(context(bare, Schema({}), Policy()))
