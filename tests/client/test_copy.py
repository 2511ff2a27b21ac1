"""Copies between host and guest: whole, right, resumed, and the old file whole where they break."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from qga.client import AgentUnreachable, AsyncClient, Client, ClientError, CommandFailed, GuestFile
from qga.client.operations import parts
from qga.testing import FakeGuest
from qga.tool import parser
from qga.tool.commands import cp
from tests.client_agents import AGENTS, AGENTS_AND_BUSYBOX, agent, listening
from tests.typing_at import TOOL

pytestmark = [pytest.mark.forks, pytest.mark.slow]
SIZES = [0, 1, 4096, 192 * 1024, 3 * 1024 * 1024 + 17]
WHEN = 1_600_000_000_123_456_789  # nanoseconds since 1970


@pytest.fixture(params=AGENTS_AND_BUSYBOX)
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    with listening(request.param, tmp_path) as address, Client(address) as client:
        yield client


def make(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    path.chmod(0o640)
    os.utime(path, ns=(WHEN, WHEN))
    return path


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if ".qga-" in path.name]


@pytest.mark.parametrize("size", SIZES)
def test_there_and_back(guest: Client, tmp_path: Path, size: int, request: pytest.FixtureRequest) -> None:
    whole = "busybox" in request.node.name  # its touch sets whole seconds, and that is said
    source = make(tmp_path / "a file -x'\n", size)
    target, back = tmp_path / "in the guest", tmp_path / "back"
    target.write_bytes(b"old")
    seen: list[tuple[int, int]] = []
    there = guest.upload(str(source), str(target), progress=lambda *now: seen.append(now))
    again = guest.download(str(target), str(back))
    assert len(there.notes) == whole
    assert all("whole seconds" in note for note in there.notes)
    assert again.notes == []
    for outcome, path in ((there, target), (again, back)):
        assert (outcome.size, outcome.verified, outcome.atomic) == (size, True, True)
        assert path.read_bytes() == source.read_bytes()
        assert path.stat().st_mode & 0o7777 == 0o640
        assert path.stat().st_mtime_ns == (WHEN // 10**9 * 10**9 if whole else WHEN)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert not size or seen[-1] == (size, size)
    assert leftovers(tmp_path) == []


def test_the_time_of_a_download(guest: Client, tmp_path: Path) -> None:
    source = make(tmp_path / "a", 10)
    for when in (WHEN, -WHEN, -1, 5 * 10**9):
        os.utime(source, ns=(when, when))
        guest.download(str(source), str(tmp_path / "b"))
        assert (tmp_path / "b").stat().st_mtime_ns == when


def test_a_link_stays_a_link_and_its_target_is_replaced(guest: Client, tmp_path: Path) -> None:
    source = make(tmp_path / "a", 10)
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    guest.upload(str(source), str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == source.read_bytes()


def interrupt(way: Callable[..., object], source: Path, target: Path) -> None:
    """After a third."""

    def stop(done: int, size: int) -> None:
        if done >= 1 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        way(str(source), str(target), progress=stop, resume=True)


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_copy_goes_on_where_it_broke(guest: Client, tmp_path: Path, direction: str) -> None:
    source, target = make(tmp_path / "a", 3 << 20), tmp_path / "b"
    target.write_bytes(b"old")
    way = getattr(guest, direction)
    interrupt(way, source, target)
    assert target.read_bytes() == b"old"
    outcome = way(str(source), str(target), resume=True)
    assert outcome.resumed >= 1 << 20
    assert outcome.verified
    assert target.read_bytes() == source.read_bytes()
    assert leftovers(tmp_path) == []


def replaced_by_link(part: Path, victim: Path) -> None:
    part.unlink()
    part.symlink_to(victim)


def replaced_by_hard_link(part: Path, victim: Path) -> None:
    part.unlink()
    victim.chmod(0o600)
    part.hardlink_to(victim)


def readable(part: Path, victim: Path) -> None:
    part.chmod(0o644)


def with_other_bytes(part: Path, victim: Path) -> None:
    with part.open("r+b") as file:
        file.write(b"x" * 100)


@pytest.mark.parametrize("spoil", [replaced_by_link, replaced_by_hard_link, readable, with_other_bytes])
@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_part_that_is_not_ours_is_begun_anew(
    guest: Client, tmp_path: Path, direction: str, spoil: Callable[[Path, Path], None]
) -> None:
    source, target, victim = make(tmp_path / "a", 3 << 20), tmp_path / "b", make(tmp_path / "victim", 1 << 20)
    kept = victim.read_bytes()
    way = getattr(guest, direction)
    interrupt(way, source, target)
    (name,) = leftovers(tmp_path)
    spoil(tmp_path / name, victim)
    outcome = way(str(source), str(target), resume=True)
    assert (outcome.resumed, outcome.verified) == (0, True)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o7777 == 0o640
    assert victim.read_bytes() == kept
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_the_part_of_an_older_source_is_left_alone(guest: Client, tmp_path: Path, direction: str) -> None:
    source, target = make(tmp_path / "a", 3 << 20), tmp_path / "b"
    way = getattr(guest, direction)
    interrupt(way, source, target)
    make(source, 3 << 20)
    os.utime(source, ns=(WHEN + 1, WHEN + 1))
    assert way(str(source), str(target), resume=True).resumed == 0
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_an_interrupted_copy_leaves_the_old_file_and_nothing_else(
    guest: Client, tmp_path: Path, direction: str
) -> None:
    source, target = make(tmp_path / "a", 3 << 20), tmp_path / "b"
    target.write_bytes(b"old")

    def stop(done: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(guest, direction)(str(source), str(target), progress=stop)
    assert target.read_bytes() == b"old"
    assert leftovers(tmp_path) == []
    guest.guest_ping()


def test_what_a_killed_copy_left_is_removed(guest: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next copy into the same directory, if nobody goes on with it for long; what is not a part stays."""
    source, into = make(tmp_path / "a", 10), tmp_path / "into"
    left, others = into / f".b.{'0' * 12}.qga-part", [into / ".b.qga-part", into / f".c.{'0' * 12}.qga-part"]
    (tmp_path / "from").mkdir()
    (into / "from").mkdir(parents=True)
    for words in ((f":{source}", str(into)), (f":{source}", f"{into}/a"), ("-r", f":{tmp_path}/from", str(into))):
        for directory in (into, into / "from"):
            (directory / left.name).touch(0o600)
        for path in others:
            path.touch(0o644)
        options = parser.parser("cp").parse_args(["cp", *words])
        cp.cp(guest, options)
        assert left.exists(), "somebody may go on with it"
        with monkeypatch.context() as patch:
            patch.setattr(parts, "LEFT_FOR", -1.0)
            cp.cp(guest, options)
        assert not (into / "from" / left.name if "-r" in words else left).exists()
        assert all(path.exists() for path in others)


def test_what_cannot_be_copied_is_an_error(guest: Client, tmp_path: Path) -> None:
    source = make(tmp_path / "a", 10)
    (tmp_path / "d").mkdir()
    uploads: list[tuple[str, str, type[Exception]]] = [
        (str(source), str(tmp_path / "d"), CommandFailed),
        (str(source), "/does/not/exist", CommandFailed),
        (str(tmp_path / "none"), "/tmp/x", FileNotFoundError),
    ]
    for away, back, kind in uploads:
        with pytest.raises(kind):
            guest.upload(away, back)
    downloads: list[tuple[str, str, type[Exception]]] = [
        (str(tmp_path / "d"), str(tmp_path / "b"), CommandFailed),
        ("/does/not/exist", str(tmp_path / "b"), CommandFailed),
        (str(source), str(tmp_path / "d"), IsADirectoryError),
    ]
    for away, back, kind in downloads:
        with pytest.raises(kind):
            guest.download(away, back)
    assert leftovers(tmp_path) == []


def write_and_flush(file: GuestFile) -> None:
    """Write and flush: QEMU's agent reports an error of the write only then."""
    file.write(b"x" * 10)
    file.flush()


def test_an_error_names_the_target_and_not_its_part(guest: Client, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"/proc/never'$") as caught:
        guest.download(str(make(tmp_path / "a", 10)), "/proc/never")
    assert caught.value.filename == "/proc/never"


def test_a_full_device_is_an_error(guest: Client) -> None:
    full = guest.open("/dev/full", "w")
    with pytest.raises(CommandFailed, match="No space left"):
        write_and_flush(full)
    with contextlib.suppress(CommandFailed):
        full.close()


def test_what_nobody_goes_on_with_is_removed(guest: Client, tmp_path: Path) -> None:
    """By a later run of the tool, after a day: a part of ours, and nothing that only looks like one."""
    day, there = 86_400, tmp_path / "there"
    source = make(tmp_path / "a", 10)
    (there / "inner").mkdir(parents=True)
    made = {}
    for name, age in (
        (".x.0123456789ab.qga-part", 2),
        (".y.0123456789ab.qga-part", 0.5),
        ("z.qga-part", 2),
        (".z", 2),
    ):
        for directory in (there, there / "inner"):
            made[directory / name] = age
            (directory / name).touch()
            os.utime(directory / name, (time.time() - age * day,) * 2)
    (there / ".d.qga-part").mkdir()
    (there / ".l.qga-part").symlink_to(source)
    address = guest.address.text
    guest.close()
    words = [*TOOL, "-c", address, "cp", str(source), f":{there}"]
    assert subprocess.run(words).returncode == 0
    gone = {path for path in made if not path.exists()}
    assert gone == {there / ".x.0123456789ab.qga-part"}
    assert (there / ".d.qga-part").is_dir()
    assert (there / ".l.qga-part").is_symlink()


def test_a_copy_is_never_more_open_than_its_source(guest: Client, tmp_path: Path) -> None:
    source = make(tmp_path / "a", 10)
    for mode, old, preserve, expected in (
        (0o600, None, True, 0o600), (0o600, None, False, 0o600), (0o666, None, False, 0o644),
        (0o600, 0o644, True, 0o600), (0o600, 0o640, False, 0o640), (0o6755, None, True, 0o755),
    ):  # fmt: skip
        source.chmod(mode)
        target = tmp_path / "b"
        target.unlink(missing_ok=True)
        if old is not None:
            target.touch()
            target.chmod(old)
        guest.upload(str(source), str(target), preserve=preserve)
        assert target.stat().st_mode & 0o7777 == expected


def test_asyncio_copies_too(guest: Client, tmp_path: Path) -> None:
    source = make(tmp_path / "a", 1 << 20)
    address = guest.address.text
    guest.close()

    async def copy() -> None:
        async with AsyncClient(address) as other:
            assert (await other.upload(str(source), f"{tmp_path}/b")).verified
            assert (await other.download(f"{tmp_path}/b", f"{tmp_path}/c")).verified

    asyncio.run(copy())
    assert (tmp_path / "c").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("which", AGENTS)
def test_without_programs_nothing_is_written_that_was_not_allowed(which: str, tmp_path: Path) -> None:
    """A new file would be open to all, whatever its source is; of an old one nobody knows."""
    source, old = make(tmp_path / "a", 500_000), make(tmp_path / "old", 10)
    source.chmod(0o600)
    before = old.read_bytes()
    with listening(which, tmp_path, "guest-exec") as address, Client(address) as guest:
        for target in (tmp_path / "b", old):
            with pytest.raises(ClientError, match=r"the agent runs no programs.*insecure"):
                guest.upload(str(source), str(target))
        assert not (tmp_path / "b").exists()
        assert old.read_bytes() == before
        there = guest.upload(str(source), f"{tmp_path}/b", insecure=True)
        assert (there.atomic, there.verified) == (False, True)
        assert "written in place" in there.notes[0]
        assert "all users of the guest may read and write it" in there.notes[0]
        back = guest.download(f"{tmp_path}/b", f"{tmp_path}/c")
        assert not back.verified
        assert "not verified" in back.notes[0]
    assert (tmp_path / "c").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("command", ["guest-file-read", "guest-file-write"])
def test_a_connection_that_dies_in_a_copy(fake_guest: FakeGuest, tmp_path: Path, command: str) -> None:
    source = make(tmp_path / "a", 2 << 20)
    (tmp_path / "b").write_bytes(b"old")
    fake_guest.files["/source"] = bytearray(source.read_bytes())
    with Client(fake_guest.address) as guest:
        fake_guest.fault(command, disconnect=True)
        download = partial(guest.download, "/source", f"{tmp_path}/b")
        upload = partial(guest.upload, str(source), "/target", insecure=True)
        with pytest.raises(AgentUnreachable, match="closed the connection"):
            (download if command == "guest-file-read" else upload)()
        assert (tmp_path / "b").read_bytes() == b"old"
        assert leftovers(tmp_path) == []
        assert fake_guest._context.files.opened() == [], "the handle was closed over a new connection"


def test_memory_is_flat(tmp_path: Path) -> None:
    """A copy of 192 MiB in a process of its own, which holds a third of that."""
    (tmp_path / "a").write_bytes(bytes(192 << 20))
    path = tmp_path / "agent.sock"
    code = f"""
from qga.client import Client
with Client({str(path)!r}) as guest:
    guest.upload({str(tmp_path / "a")!r}, {str(tmp_path / "b")!r})
    guest.download({str(tmp_path / "b")!r}, {str(tmp_path / "c")!r})
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
    with agent("ours", tmp_path, path=path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024, "KiB"
