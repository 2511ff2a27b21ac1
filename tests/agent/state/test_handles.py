from __future__ import annotations

import base64
import errno
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qga.agent.state import handles, statefile
from qga.agent.state.handles import MODES, FileTable
from qga.protocol.errors import CommandError
from tests.lines import Lines
from tests.running import RunningAgent

Execute = Callable[..., dict[str, Any]]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def opened(execute: Execute, tmp_path: Path) -> Callable[..., int]:
    def open_file(name: str, mode: str = "r") -> int:
        handle: int = execute("guest-file-open", path=str(tmp_path / name), mode=mode)["return"]
        return handle

    return open_file


def said(reply: dict[str, Any]) -> str:
    return str(reply["error"]["desc"])


def test_write_then_read(execute: Execute, opened: Callable[..., int], tmp_path: Path) -> None:
    handle = opened("f", "w+")
    assert handle == 1000
    assert execute("guest-file-write", handle=handle, buf_b64=text(b"hello world")) == {
        "return": {"count": 11, "eof": False}
    }
    assert (tmp_path / "f").read_bytes() == b"hello world"
    seek = execute("guest-file-seek", handle=handle, offset=6, whence="set")
    assert seek == {"return": {"position": 6, "eof": False}}
    assert execute("guest-file-read", handle=handle, count=3)["return"] == {
        "count": 3,
        "buf-b64": text(b"wor"),
        "eof": False,
    }
    assert execute("guest-file-read", handle=handle)["return"] == {"count": 2, "buf-b64": text(b"ld"), "eof": True}
    assert execute("guest-file-read", handle=handle)["return"] == {"count": 0, "buf-b64": "", "eof": True}
    assert execute("guest-file-read", handle=handle, count=0)["return"]["eof"] is False
    assert execute("guest-file-flush", handle=handle) == {"return": {}}
    assert execute("guest-file-close", handle=handle) == {"return": {}}
    assert said(execute("guest-file-close", handle=handle)) == "handle '1000' has not been found"


def test_end_of_file_is_reported_only_by_a_short_read(
    execute: Execute, opened: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    handle = opened("f")
    assert execute("guest-file-read", handle=handle, count=5)["return"]["eof"] is False
    assert execute("guest-file-read", handle=handle, count=5)["return"] == {"count": 0, "buf-b64": "", "eof": True}


def test_the_fifteen_modes() -> None:
    assert set(MODES) == set("r rb w wb a ab r+ rb+ r+b w+ wb+ w+b a+ ab+ a+b".split())  # noqa: SIM905


@pytest.mark.parametrize("mode", ["", "rw", "rt", "x", "b", "r++", "R"])
def test_other_modes(execute: Execute, mode: str) -> None:
    assert said(execute("guest-file-open", path="/dev/null", mode=mode)) == f"invalid file open mode '{mode}'"


def test_new_file_is_0666_whatever_the_umask_and_an_old_one_keeps_its_own(
    opened: Callable[..., int], tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        opened("new", "w")
        (tmp_path / "old").write_text("x")
        (tmp_path / "old").chmod(0o640)
        opened("old", "w")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640
    assert (tmp_path / "old").read_text() == ""


def test_append(execute: Execute, opened: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one ")
    handle = opened("f", "a+")
    execute("guest-file-seek", handle=handle, offset=0, whence=0)
    execute("guest-file-write", handle=handle, buf_b64=text(b"two"))
    assert (tmp_path / "f").read_bytes() == b"one two"


@pytest.mark.parametrize(
    ("name", "mode", "why"),
    [
        ("missing", "r", "No such file or directory"),
        ("dangling", "w", "No such file or directory"),
        ("fifo", "w", "No such device or address"),
        (".", "w", "Is a directory"),
    ],
)
def test_cannot_open(execute: Execute, tmp_path: Path, name: str, mode: str, why: str) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    path = str(tmp_path / name)
    reply = execute("guest-file-open", path=path, mode=mode)
    assert said(reply) == f"failed to open file '{path}' (mode: '{mode}'): {why}"


def test_directory_can_be_opened_but_not_read(execute: Execute, opened: Callable[..., int]) -> None:
    assert said(execute("guest-file-read", handle=opened("."))) == "failed to read file: Is a directory"


def test_reading_and_writing_against_the_mode(execute: Execute, opened: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    written = execute("guest-file-write", handle=opened("f"), buf_b64="QUJD")
    assert said(written) == "failed to write to file: Bad file descriptor"
    assert said(execute("guest-file-read", handle=opened("f", "a"))) == "failed to read file: Bad file descriptor"


@pytest.mark.parametrize("count", [-1, 48 * 1024 * 1024 + 1])
def test_count_of_read(execute: Execute, opened: Callable[..., int], count: int) -> None:
    reply = execute("guest-file-read", handle=opened("f", "w+"), count=count)
    assert said(reply) == f"value '{count}' is invalid for argument count"


def test_count_of_write(execute: Execute, opened: Callable[..., int], tmp_path: Path) -> None:
    handle = opened("f", "w")
    for count in (-1, 4):
        reply = execute("guest-file-write", handle=handle, buf_b64="QUJD", count=count)
        assert said(reply) == f"value '{count}' is invalid for argument count"
    assert execute("guest-file-write", handle=handle, buf_b64="QUJD", count=2)["return"]["count"] == 2
    assert (tmp_path / "f").read_bytes() == b"AB"


@pytest.mark.parametrize(
    ("offset", "whence", "why"),
    [(0, 9, "invalid whence code 9"), (-1, "set", "failed to seek file: Invalid argument")],
)
def test_cannot_seek(execute: Execute, opened: Callable[..., int], offset: int, whence: object, why: str) -> None:
    assert said(execute("guest-file-seek", handle=opened("f", "w"), offset=offset, whence=whence)) == why


def test_fifo_loses_nothing(execute: Execute, opened: Callable[..., int], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    handle = opened("fifo")
    assert execute("guest-file-read", handle=handle)["return"] == {"count": 0, "buf-b64": "", "eof": True}
    with open(tmp_path / "fifo", "wb", buffering=0) as writer:
        assert (
            said(execute("guest-file-read", handle=handle)) == "failed to read file: Resource temporarily unavailable"
        )
        writer.write(b"abc")
        assert execute("guest-file-read", handle=handle)["return"] == {
            "count": 3,
            "buf-b64": text(b"abc"),
            "eof": False,
        }
    assert (
        said(execute("guest-file-seek", handle=handle, offset=0, whence="set")) == "failed to seek file: Illegal seek"
    )


def test_full_fifo_takes_what_it_can(execute: Execute, opened: Callable[..., int], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    handle = opened("fifo", "w")
    taken = execute("guest-file-write", handle=handle, buf_b64=text(bytes(200_000)))["return"]["count"]
    assert 0 < taken < 200_000
    again = execute("guest-file-write", handle=handle, buf_b64=text(b"x"))
    assert said(again) == "failed to write to file: Resource temporarily unavailable"
    os.close(reader)


def test_name_with_nul_is_spelled_as_modified_utf8(execute: Execute, tmp_path: Path) -> None:
    assert "return" in execute("guest-file-open", path=f"{tmp_path}/a\0b", mode="w")
    assert os.listdir(os.fsencode(tmp_path / ".")).count(b"a\xc0\x80b") == 1


def test_handle_is_gone_even_when_closing_failed(tmp_path: Path) -> None:
    table = FileTable()
    handle = table.open("/dev/null", "r")
    os.close(table.descriptor(handle))
    with pytest.raises(CommandError, match=r"^failed to close handle: Bad file descriptor$"):
        table.close(handle)
    with pytest.raises(CommandError, match="has not been found"):
        table.close(handle)


def state(tmp_path: Path) -> str:
    return (tmp_path / "qga.state").read_text()


def test_counter_is_on_disk_before_the_handle_goes_out(tmp_path: Path) -> None:
    table = FileTable(str(tmp_path))
    assert table.open("/dev/null", "r") == 1000
    assert state(tmp_path) == "[global]\nfd_counter=1001\n"
    assert FileTable(str(tmp_path)).open("/dev/null", "r") == 1001
    assert os.listdir(tmp_path) == ["qga.state"]


@pytest.mark.parametrize(
    ("content", "handle"), [("[global]\nfd_counter=7\n", 7), ("[global]\nfd_counter=-2\n", 2**32 - 2)]
)
def test_counter_of_another_agent_goes_on(tmp_path: Path, content: str, handle: int) -> None:
    (tmp_path / "qga.state").write_text(content)
    assert FileTable(str(tmp_path)).open("/dev/null", "r") == handle


# As a crash, a full disk or a hand leaves it; each is what the file holds, or what is there instead.
DAMAGE: dict[str, bytes] = {
    "empty": b"",
    "cut before the counter": b"[global]\n",
    "cut in the counter": b"[global]\nfd_counter=10",
    "not a key file": b"rubbish\n",
    "binary": bytes(range(256)),
    "zeros": bytes(4096),
    "deep": b"[" * 200_000,
    "large": b"# x\n" * 1_000_000,
    "a word": b"[global]\nfd_counter=x\n",
    "an escape": b"[global]\nfd_counter=\\x\n",
    "a fraction": b"[global]\nfd_counter=1e300\n",
    "infinite": b"[global]\nfd_counter=inf\n",
    "19 digits": b"[global]\nfd_counter=" + b"9" * 19 + b"\n",
    "400 digits": b"[global]\nfd_counter=" + b"9" * 400 + b"\n",
    "far below": b"[global]\nfd_counter=-99999999999\n",
    "a directory": b"",
    "a FIFO": b"",
    "a link": b"",
}


def damage(directory: Path, kind: str) -> None:
    path = directory / "qga.state"
    if kind == "a directory":
        path.mkdir()
        (path / "something").touch()
    elif kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a link":
        path.symlink_to(directory / "elsewhere")
    else:
        path.write_bytes(DAMAGE[kind])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_state_is_reported_and_kept_and_no_handle_is_given_twice(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(tmp_path, kind)
    earlier = time.time_ns() // 1000
    table = FileTable(str(tmp_path))
    assert os.listdir(tmp_path) == ["qga.state"]  # the directory may be frozen: a start writes nothing
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{tmp_path}/qga.state ")
    first = table.open("/dev/null", "r")
    assert earlier <= first < 2**53
    assert caplog.messages[1:] == [f"the damaged {tmp_path}/qga.state is kept as {tmp_path}/qga.state.damaged-1"]
    kept = tmp_path / "qga.state.damaged-1"
    if DAMAGE[kind]:
        assert kept.read_bytes() == DAMAGE[kind]
    assert kept.is_dir() == (kind == "a directory")
    assert kept.is_fifo() == (kind == "a FIFO")
    assert sorted(os.listdir(tmp_path)) == ["qga.state", "qga.state.damaged-1"]
    assert FileTable(str(tmp_path)).open("/dev/null", "r") == first + 1


def test_a_damaged_counter_is_continued_where_the_clock_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)  # as after a battery has failed
    (tmp_path / "qga.state").write_bytes(b"[global]\nfd_counter=70500\n\0\0\0\xff")
    assert FileTable(str(tmp_path)).open("/dev/null", "r") == 70501


def test_a_counter_lost_between_two_renames_does_not_start_over(tmp_path: Path) -> None:
    (tmp_path / "qga.state.damaged-1").touch()
    assert FileTable(str(tmp_path)).open("/dev/null", "r") > 10**15


def test_damaged_state_that_cannot_be_kept_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(tmp_path, "a directory")
    table = FileTable(str(tmp_path))

    def refuse(path: str) -> str:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(statefile, "set_aside", refuse)
        table.repair()
        with pytest.raises(CommandError, match=r"^failed to commit persistent state to disk$"):
            table.open("/dev/null", "r")
    assert os.listdir(tmp_path) == ["qga.state"]
    table.repair()
    assert sorted(os.listdir(tmp_path)) == ["qga.state", "qga.state.damaged-1"]


@pytest.mark.forks
@pytest.mark.parametrize("kind", ["cut in the counter", "binary", "deep", "a directory", "a FIFO"])
def test_an_agent_starts_with_damaged_state(tmp_path: Path, kind: str) -> None:
    damage(tmp_path, kind)
    sock = tmp_path / "sock"
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", str(sock)) as agent, Lines.connect(sock) as peer:
        assert f"the damaged {tmp_path}/qga.state is kept as {tmp_path}/qga.state.damaged-1" in agent.log.read_text()
        request = {"execute": "guest-file-open", "arguments": {"path": "/dev/null"}}
        peer.send(json.dumps(request).encode() + b"\n")
        assert json.loads(peer.read_line(10))["return"] > 10**15


def test_state_directory_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rest of the agent works without it."""
    directory = tmp_path / "nowhere"
    table = FileTable(str(directory))
    assert caplog.messages == [
        f"cannot write to {directory}: no file will be opened, and a freeze will leave no marker"
    ]
    with pytest.raises(CommandError, match=r"^failed to commit persistent state to disk$"):
        table.open("/dev/null", "r")


def test_start_writes_nothing(tmp_path: Path) -> None:
    """The directory may be frozen."""
    FileTable(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_handle_is_not_given_when_its_counter_cannot_be_kept(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    table = FileTable(str(directory))
    directory.rmdir()
    with pytest.raises(CommandError, match=r"^failed to commit persistent state to disk$"):
        table.open("/dev/null", "r")
    directory.mkdir()
    assert table.open("/dev/null", "r") == 1000


@given(st.binary(max_size=300), st.integers(1, 50))
@settings(max_examples=50)
def test_a_file_read_in_pieces_is_complete(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int) -> None:
    path = tmp_path_factory.mktemp("f") / "f"
    path.write_bytes(data)
    table = FileTable()
    descriptor = table.descriptor(table.open(str(path), "r"))
    found, eof = b"", False
    while not eof:
        piece, eof = handles.read(descriptor, size)
        found += piece
    assert found == data
    os.close(descriptor)
