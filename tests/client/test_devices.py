"""What is not a regular file, on either side of a copy, is refused and left as it is; what - and --device do."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qga.client import Client, ClientError, CommandFailed, OutOfStep
from qga.client.operations import download
from qga.client.operations.requests import limits
from qga.protocol import base64
from qga.testing import FakeGuest
from qga.tool import exits
from tests.client_agents import AGENTS, listening
from tests.tool.test_tool import TOOL, qga

pytestmark = [pytest.mark.forks, pytest.mark.slow]
SIZE = 4 << 20  # bytes of the loop device
ZERO, FULL = os.makedev(1, 5), os.makedev(1, 7)


@pytest.fixture(params=AGENTS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with listening(request.param, tmp_path) as path:
        yield path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """A loop device of random bytes, which host and guest have in common."""
    image = tmp_path / "image"
    image.write_bytes(os.urandom(SIZE))
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr}")
    path = made.stdout.strip()
    try:
        yield path
    finally:
        subprocess.run(["losetup", "--detach", path], check=True)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zero(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, ZERO)


def full(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, FULL)


def unix_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o666)


SPECIAL = [
    (fifo, "a FIFO", False),
    (full, "a character device", False),
    (zero, "a character device", True),
    (unix_socket, "a socket", False),
]


@pytest.mark.parametrize(("make", "kind", "by_link"), SPECIAL)
def test_special_files(address: str, tmp_path: Path, make: Callable[[Path], None], kind: str, by_link: bool) -> None:
    """Whichever side, and as source or target: one sentence, and what was there is there."""
    special, regular, typed = tmp_path / "special", tmp_path / "regular", tmp_path / "typed"
    make(special)
    regular.write_bytes(b"old")
    if by_link:
        typed.symlink_to("special")
    else:
        special.rename(typed)
    before = typed.stat()
    for source, target in (
        (f":{typed}", regular),
        (f":{regular}", typed),
        (typed, f":{regular}"),
        (regular, f":{typed}"),
    ):
        done = qga(address, "cp", str(source), str(target))
        assert done.returncode == exits.USAGE
        assert done.stderr.endswith(f"typed is {kind}: expected a regular file; use - for stdin or stdout\n")
        assert done.stderr.count("\n") == 1
    with Client(address) as guest:
        for work, error in ((guest.upload, CommandFailed), (guest.download, OSError)):
            with pytest.raises(error, match="regular file"):
                work(str(regular), str(typed))
        for work, error in ((guest.upload, OSError), (guest.download, CommandFailed)):
            with pytest.raises(error, match=f"is {kind}: expected a regular file"):
                work(str(typed), str(regular))
    assert (typed.stat().st_mode, typed.stat().st_rdev) == (before.st_mode, before.st_rdev)
    assert regular.read_bytes() == b"old"
    assert not [path.name for path in tmp_path.iterdir() if ".qga-" in path.name]


def test_a_block_device_is_not_taken_for_a_file(address: str, tmp_path: Path, disk: str) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"x" * 1000)
    before = (tmp_path / "image").read_bytes()
    for pair in ((str(source), f":{disk}"), (f":{source}", disk), (f":{disk}", str(source)), (disk, f":{source}")):
        done = qga(address, "cp", *pair)
        assert done.returncode == exits.USAGE
        assert "is a block device: expected a regular file; use --device to read or write one" in done.stderr
    assert stat.S_ISBLK(os.stat(disk).st_mode)
    assert (tmp_path / "image").read_bytes() == before
    assert source.read_bytes() == b"x" * 1000


class TestDevice:
    @pytest.mark.parametrize("up", [True, False])
    def test_it_is_written_into(self, address: str, tmp_path: Path, disk: str, up: bool) -> None:
        source = tmp_path / "a"
        source.write_bytes(os.urandom(1_000_001))
        rest = (tmp_path / "image").read_bytes()[1_000_001:]
        pair = (str(source), f":{disk}") if up else (f":{source}", disk)
        done = qga(address, "cp", "--device", *pair)
        assert (done.returncode, done.stderr) == (0, "")
        assert stat.S_ISBLK(os.lstat(disk).st_mode)
        subprocess.run(["blockdev", "--flushbufs", disk], check=True)
        assert (tmp_path / "image").read_bytes() == source.read_bytes() + rest
        with Client(address) as guest:
            work = guest.upload if up else guest.download
            outcome = work(str(source), disk, device=True)
        assert (outcome.size, outcome.verified, outcome.atomic, outcome.notes) == (1_000_001, True, False, [])

    @pytest.mark.parametrize("up", [True, False])
    def test_it_is_read(self, address: str, tmp_path: Path, disk: str, up: bool) -> None:
        target = tmp_path / "a"
        pair = (disk, f":{target}") if up else (f":{disk}", str(target))
        done = qga(address, "cp", "--device", *pair)
        assert (done.returncode, done.stderr) == (0, "")
        assert target.read_bytes() == (tmp_path / "image").read_bytes()
        assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(os.stat(disk).st_mode), (
            "no more open than the disk"
        )

    @pytest.mark.parametrize("up", [True, False])
    def test_what_does_not_fit_is_not_begun(self, address: str, tmp_path: Path, disk: str, up: bool) -> None:
        source, before = tmp_path / "a", (tmp_path / "image").read_bytes()
        source.write_bytes(bytes(SIZE + 1))
        pair = (str(source), f":{disk}") if up else (f":{source}", disk)
        done = qga(address, "cp", "--device", *pair)
        assert done.returncode == (exits.FAILED if up else exits.HOST)
        assert done.stderr == f"qga: {disk} holds {SIZE} bytes: expected no more, and these are {SIZE + 1}\n"
        subprocess.run(["blockdev", "--flushbufs", disk], check=True)
        assert (tmp_path / "image").read_bytes() == before

    @pytest.mark.parametrize("up", [True, False])
    def test_a_mistyped_name_is_not_made(self, address: str, tmp_path: Path, up: bool) -> None:
        source, wrong = tmp_path / "a", tmp_path / "sdx"
        source.write_bytes(b"x")
        pair = (str(source), f":{wrong}") if up else (f":{source}", str(wrong))
        done = qga(address, "cp", "--device", *pair)
        assert done.returncode == exits.USAGE
        assert (
            done.stderr
            == f"qga: --device: neither {source} nor {wrong} is known to be a block device: expected one\n"
        )
        assert not wrong.exists()

    def test_a_mistyped_name_for_stdin_or_stdout(self, address: str, tmp_path: Path) -> None:
        """In the guest it was made: a file of /dev, which is memory."""
        wrong = tmp_path / "vbd"
        done = qga(address, "cp", "--device", "-", f":{wrong}", input="x")
        assert (done.returncode, wrong.exists()) == (exits.USAGE, False)
        assert (
            done.stderr == f"qga: --device: neither stdin nor :{wrong} is known to be a block device: expected one\n"
        )
        done = qga(address, "cp", "--device", f":{wrong}", "-")
        assert (done.returncode, done.stdout) == (exits.USAGE, "")

    def test_from_stdin_and_to_stdout(self, address: str, disk: str) -> None:
        data = os.urandom(5000)
        subprocess.run([*TOOL, "-c", address, "cp", "--device", "-", f":{disk}"], input=data, check=True)
        done = subprocess.run([*TOOL, "-c", address, "cp", "--device", f":{disk}", "-"], capture_output=True)
        assert (done.returncode, done.stdout[:5000], len(done.stdout)) == (0, data, SIZE)

    def test_not_gone_on_with(self, address: str, tmp_path: Path, disk: str) -> None:
        (tmp_path / "a").write_bytes(b"x")
        done = qga(address, "cp", "--device", "--resume", str(tmp_path / "a"), f":{disk}")
        assert (done.returncode, "--resume" in done.stderr) == (exits.USAGE, True)


class TestStream:
    @pytest.mark.parametrize("size", [0, 3_000_017])
    def test_there_and_back(self, address: str, tmp_path: Path, size: int) -> None:
        data, target = os.urandom(size), tmp_path / "in the guest"
        there = subprocess.run([*TOOL, "-c", address, "cp", "-", f":{target}"], input=data, capture_output=True)
        assert (there.returncode, there.stderr) == (0, b"")
        assert target.read_bytes() == data
        target.chmod(0o640)
        subprocess.run([*TOOL, "-c", address, "cp", "-", f":{target}"], input=data, check=True)
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        back = subprocess.run([*TOOL, "-c", address, "cp", f":{target}", "-"], capture_output=True)
        assert (back.returncode, back.stdout, back.stderr) == (0, data, b"")

    def test_stdin_from_where_it_stands(self, address: str, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"first\nsecond\n")
        with (tmp_path / "a").open("rb") as file:
            os.lseek(file.fileno(), 6, os.SEEK_SET)
            subprocess.run([*TOOL, "-c", address, "cp", "-", f":{tmp_path}/b"], stdin=file, check=True)
        assert (tmp_path / "b").read_bytes() == b"second\n"

    def test_a_log_by_its_name_in_dev_is_not_replaced(self, address: str, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"new\n")
        log = tmp_path / "log"
        log.write_bytes(b"old\n")
        for typed in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            with log.open("ab") as file:
                done = qga(
                    address, "cp", f":{tmp_path}/a", typed, stdout=file, stderr=subprocess.PIPE, capture_output=False
                )
            assert done.returncode == exits.USAGE
            assert f"{typed} is an open file of a process: expected a file's own name, or - for stdout" in done.stderr
            assert log.read_bytes() == b"old\n"
        words = [*TOOL, "-c", address, "cp", f":{tmp_path}/a", "-"]
        for unbuffered in ("", "1"):
            with log.open("ab") as file:
                subprocess.run(words, stdout=file, check=True, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
        assert log.read_bytes() == b"old\nnew\nnew\n"

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (["-", ":/tmp"], "is a directory"),
            ([":/tmp", "-"], "is a directory"),
            (["-", "/etc/hostname", ":/tmp"], "is a single file"),
            (["--resume", ":/etc/hostname", "-"], "--resume"),
            (["--json", ":/etc/hostname", "-"], "--json"),
            (["-", "-"], "are both on this machine: a path in the guest is written :PATH"),
            ([":/dev/zero", "-"], "is a character device"),
        ],
    )
    def test_wrong_usage(self, address: str, words: list[str], why: str) -> None:
        done = qga(address, "cp", *words)
        assert (done.returncode, done.stdout) == (exits.USAGE, "")
        assert why in done.stderr

    def test_a_reader_that_has_seen_enough(self, address: str, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(bytes(8 << 20))
        words = [*TOOL, "-c", address, "cp", f":{tmp_path}/a", "-"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(1) == b"\0"
            process.stdout.close()
            assert process.wait(30) == 128 + 13
            assert process.stderr.read() == b""


def test_files_that_say_that_they_are_empty(address: str, tmp_path: Path) -> None:
    """As those of /proc do, on either side."""
    expected = Path("/proc/version").read_bytes()
    for pair in ((":/proc/version", f"{tmp_path}/a"), ("/proc/version", f":{tmp_path}/b")):
        done = qga(address, "cp", *pair)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == expected


class TestWithoutPrograms:
    @pytest.fixture(params=AGENTS)
    def guest(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
        with listening(request.param, tmp_path, "guest-exec") as address, Client(address) as guest:
            yield guest

    def test_what_may_be_a_device_is_not_touched(self, guest: Client, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x")
        for work, pair in (
            (guest.download, ("/dev/zero", f"{tmp_path}/b")),
            (guest.download, ("/tmp/../dev//zero", f"{tmp_path}/b")),
            (guest.upload, (f"{tmp_path}/a", "/dev/null")),
        ):
            with pytest.raises(CommandFailed, match="may be a device"):
                work(*pair)
        assert not (tmp_path / "b").exists()

    def test_what_may_be_private_is(self, guest: Client, tmp_path: Path) -> None:
        """Its mode in the guest cannot be had: the copy is its owner's alone, or as open as what it replaces."""
        (tmp_path / "a").write_bytes(b"secret")
        (tmp_path / "c").touch(0o640)
        for name, mode in (("b", 0o600), ("c", 0o640)):
            outcome = guest.download(f"{tmp_path}/a", f"{tmp_path}/{name}")
            assert "mode and times were not kept" in outcome.notes[-1]
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode

    def test_what_has_no_end_is_ended(self, guest: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "MOST_BEYOND", 8 << 20)
        zero(tmp_path / "zero")
        with pytest.raises(ClientError, match="had 0 bytes and gives more than 8388608: expected a file that ends"):
            guest.download(str(tmp_path / "zero"), str(tmp_path / "b"))
        assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] in ".bz") == ["zero"]


class TestReplies:
    """Of a guest that answers what no agent does."""

    @pytest.fixture
    def guest(self, fake_guest: FakeGuest) -> Iterator[Client]:
        fake_guest.files["/a"] = bytearray(b"x" * 100)
        with Client(fake_guest.address) as client:
            yield client

    def test_what_reads_back_without_end(self, guest: Client, fake_guest: FakeGuest, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x" * 1000)
        piece = base64.encode(b"x" * 500)
        fake_guest.answer("guest-file-read", lambda **_: {"count": 500, "buf-b64": piece, "eof": False})
        with pytest.raises(ClientError, match="read back differs"):
            guest.upload(str(tmp_path / "a"), "/b", insecure=True)
        assert 3 <= fake_guest.commands.count("guest-file-read") <= 3 + guest.carry_out(limits()).window

    def test_reads_that_bring_nothing_are_the_end(self, guest: Client, fake_guest: FakeGuest, tmp_path: Path) -> None:
        fake_guest.answer("guest-file-read", {"count": 5, "buf-b64": "", "eof": False})
        assert guest.download("/a", f"{tmp_path}/a").size == 0

    def test_more_than_was_asked_for(self, guest: Client, fake_guest: FakeGuest, tmp_path: Path) -> None:
        much = {"count": 5, "buf-b64": base64.encode(bytes(9 << 20)), "eof": False}
        fake_guest.answer("guest-file-read", much)
        with pytest.raises(OutOfStep, match="that were asked for"):
            guest.download("/a", f"{tmp_path}/a")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "reply", [{"position": -1}, {"position": 1 << 63}, {"position": True}, {"position": "1"}, [], 7]
    )
    def test_positions(self, guest: Client, fake_guest: FakeGuest, tmp_path: Path, reply: Any) -> None:
        fake_guest.answer("guest-file-seek", lambda **_: reply)
        with pytest.raises(OutOfStep, match=r"^guest-file-seek: the .*reply"):
            guest.download("/a", f"{tmp_path}/a")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "printed",
        [b"-1 81a4 0 0\n", b"1 181a4 0 0\n", b"1 81a4 nan 0\n", b"1 81a4 0 9223372036854775808\n",
         b"9223372036854775808 81a4 0 0\n", b"1" * 5000 + b" 81a4 0 0\n", b"", b"1 81a4 0\n",
         b"1 81a4 0 0\n1 81a4 0 0\n", b"\xff"],
    )  # fmt: skip
    def test_what_stat_does_not_say(
        self, guest: Client, fake_guest: FakeGuest, tmp_path: Path, printed: bytes
    ) -> None:
        """It is as if there was no stat: the bytes are copied, and a note says what was not kept."""
        fake_guest.programs["stat"] = lambda words, data: (0, printed, b"")
        outcome = guest.download("/a", f"{tmp_path}/a")
        assert (tmp_path / "a").read_bytes() == b"x" * 100
        assert "mode and times were not kept" in outcome.notes[-1]

    def test_a_mode_and_times_that_can_be(self, guest: Client, fake_guest: FakeGuest, tmp_path: Path) -> None:
        fake_guest.programs["stat"] = lambda words, data: (0, b"100 8fff -0.500000000 -12.25\n", b"")
        guest.download("/a", f"{tmp_path}/a")
        found = (tmp_path / "a").stat()
        assert (found.st_mode, found.st_atime_ns, found.st_mtime_ns) == (0o100777, -500_000_000, -12_250_000_000)


class TestModes:
    @pytest.mark.parametrize("direction", ["upload", "download"])
    def test_setuid_is_kept_where_it_is_asked_for(self, address: str, tmp_path: Path, direction: str) -> None:
        source, target = tmp_path / "a", tmp_path / "b"
        source.write_bytes(b"x")
        source.chmod(0o7755)
        with Client(address) as guest:
            for options, expected in (({}, 0o755), ({"keep_setuid": True}, 0o7755), ({}, 0o755)):
                getattr(guest, direction)(str(source), str(target), **options)
                assert stat.S_IMODE(target.stat().st_mode) == expected
        words = (str(source), f":{target}") if direction == "upload" else (f":{source}", str(target))
        for option, expected in (("--keep-setuid", 0o7755), ("--no-verify", 0o755)):
            assert qga(address, "cp", option, *words).returncode == 0
            assert stat.S_IMODE(target.stat().st_mode) == expected

    def test_what_replaces_a_setuid_file_is_not_one(self, address: str, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x")
        (tmp_path / "b").touch()
        (tmp_path / "b").chmod(0o4755)
        with Client(address) as guest:
            guest.download(f"{tmp_path}/a", f"{tmp_path}/b", preserve=False)
        assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o755

    def test_the_umask_is_kept_and_not_touched(
        self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is all threads': a file that another one makes meanwhile would have another mode."""
        (tmp_path / "a").write_bytes(os.urandom(1 << 20))
        (tmp_path / "a").chmod(0o666)
        seen = set()

        def look(done: int, whole: int) -> None:
            (part,) = tmp_path.glob(".b.*")
            seen.add(stat.S_IMODE(part.stat().st_mode))

        def refuse(mask: int) -> int:
            raise AssertionError("the umask is the whole process's")

        before = os.umask(0o027)
        try:
            with Client(address) as guest, monkeypatch.context() as patch:
                patch.setattr(os, "umask", refuse)
                guest.download(f"{tmp_path}/a", f"{tmp_path}/b", preserve=False, progress=look)
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o640
        assert seen == {0o600}, "the part is at no time more open than the file"


def test_a_fifo_as_source_is_not_waited_for(address: str, tmp_path: Path) -> None:
    """Nobody writes to it: who opened it as a file would wait without end."""
    os.mkfifo(tmp_path / "pipe")
    failed: list[OSError] = []

    def upload() -> None:
        try:
            guest.upload(f"{tmp_path}/pipe", f"{tmp_path}/x")
        except OSError as error:
            failed.append(error)

    with Client(address) as guest:
        worker = threading.Thread(target=upload, daemon=True)
        worker.start()
        worker.join(20)
    assert "is a FIFO" in str(failed[0])
