"""Work as another user, with real forks and real user ids."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from pwd import struct_passwd

import pytest

from qga.agent.linux import sshkeys
from qga.agent.linux.host import Host
from qga.agent.loop import Loop
from qga.agent.processes import Children, as_user, run_as, run_helper
from qga.protocol.errors import CommandError
from tests.until import until

pytestmark = pytest.mark.forks

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def user(uid: int, gid: int, home: str = "/nonexistent") -> struct_passwd:
    return struct_passwd(("qga-test-user", "x", uid, gid, "", home, "/bin/false"))


ME = user(os.getuid(), os.getgid())


@pytest.fixture(autouse=True)
def _nothing_is_left(descriptors: None) -> Iterator[None]:
    """Assert that no descriptor and no unreaped child is left."""
    yield

    def buried() -> bool:
        Children().reap()
        return not children()

    until(buried)


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.fixture
def home() -> Iterator[Path]:
    """A home owned by the user nobody, in a directory of root that nobody may enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory(prefix="qga-") as directory:
        os.chmod(directory, 0o711)
        path = Path(directory) / "home"
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
        yield path


def test_the_result_comes_back_whatever_its_size() -> None:
    for size in (0, 1, 65536, 3_000_000):
        assert run_as(ME, partial(bytes, size)) == bytes(size)


def test_the_work_is_done_in_another_process_with_nothing_of_the_agents_open() -> None:
    def work() -> bytes:
        return f"{os.getpid()} {len(os.listdir('/proc/self/fd'))}".encode()

    pid, descriptors = map(int, run_as(ME, work).split())
    assert pid != os.getpid()
    assert descriptors == 2  # the pipe, and the directory that is listed


def test_an_error_of_the_work_comes_back_in_its_words() -> None:
    def work() -> bytes:
        raise CommandError("no “key” \udcff\nhere")

    with pytest.raises(CommandError) as caught:
        run_as(ME, work)
    assert str(caught.value) == "no “key” \udcff\nhere"


def test_an_unexpected_exception_stays_in_the_child() -> None:
    with pytest.raises(CommandError, match=r"^internal error: ZeroDivisionError: "):
        run_as(ME, lambda: b"%d" % (1 // 0))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_work_that_is_killed_has_no_result(number: signal.Signals) -> None:
    def work() -> bytes:
        os.kill(os.getpid(), number)
        return b"never"

    with pytest.raises(CommandError, match=r"^work as user 'qga-test-user' ended without a result$"):
        run_as(ME, work)


def test_a_partial_result_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_user, "read_to_end", lambda descriptor, timeout: b"done 4\nkey")
    with pytest.raises(CommandError, match="ended without a result"):
        run_as(ME, lambda: b"")


def test_work_that_hangs_is_ended(tmp_path: Path) -> None:
    def work() -> bytes:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(600)
        return b""

    begun = time.monotonic()
    with pytest.raises(CommandError, match=r"^work as user 'qga-test-user' timed out after 0\.5 s$"):
        run_as(ME, work, timeout=0.5)
    assert time.monotonic() - begun < 10
    _, status = os.waitpid(int((tmp_path / "pid").read_text()), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_failing_fork_or_pipe_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(CommandError, match=r"^failed to create child process: Resource temporarily unavailable$"):
        run_as(ME, lambda: b"")
    monkeypatch.setattr(os, "pipe", fail)
    with pytest.raises(CommandError, match=r"^cannot create pipe FDs$"):
        run_as(ME, lambda: b"")


def test_the_loop_reaps_the_children_and_no_other_status_is_lost() -> None:
    reaping, loop = Children(), Loop()
    loop.on_signal(signal.SIGCHLD, reaping.reap)
    ended: list[int] = []
    results: list[object] = []
    null = os.open(os.devnull, os.O_RDWR)

    def step() -> None:
        reaping.spawn("/bin/sh", ["sh", "-c", "exit 7"], {}, (null, null, null), ended.append)
        results.append((run_as(ME, lambda: b"result"), run_helper(("sh", "-c", "exit 42")).status))
        loop.call_later(*((0, step) if len(results) < 30 else (0.3, loop.stop)))

    loop.call_later(0, step)
    try:
        loop.run()
    finally:
        loop.close()
        os.close(null)
    assert results == [(b"result", 42)] * 30
    assert list(map(os.waitstatus_to_exitcode, ended)) == [7] * 30
    assert children() == []


# As another user


@AS_ROOT
def test_nothing_of_root_is_left() -> None:
    def work() -> bytes:
        assert os.getresuid() == (NOBODY,) * 3
        assert os.getresgid() == (NOBODY,) * 3
        assert os.getgroups() == [NOBODY]
        with pytest.raises(PermissionError):
            os.setuid(0)
        with pytest.raises(PermissionError):
            os.listdir("/proc/1/fd")
        status = Path("/proc/self/status").read_text()
        assert "CapPrm:\t0000000000000000\n" in status
        assert "CapEff:\t0000000000000000\n" in status
        assert os.umask(0) == 0o077
        return b"all of it"

    previous = os.getgroups()
    os.setgroups([0, 4])
    try:
        assert run_as(user(NOBODY, NOBODY), work) == b"all of it"
    finally:
        os.setgroups(previous)


@AS_ROOT
def test_other_processes_of_the_user_cannot_look_into_it() -> None:
    """Its memory holds data of root, so the kernel makes root the owner of its /proc files."""
    assert run_as(user(NOBODY, NOBODY), lambda: str(os.stat("/proc/self/mem").st_uid).encode()) == b"0"


@AS_ROOT
def test_user_who_cannot_become_another() -> None:
    def work() -> bytes:
        return run_as(user(1, 1), lambda: b"somebody else")

    with pytest.raises(CommandError, match=r"^cannot become user 'qga-test-user': Operation not permitted$"):
        run_as(user(NOBODY, NOBODY), work)


@pytest.fixture
def own() -> Callable[[Path], tuple[Host, struct_passwd]]:
    """Return a host that really becomes its users, and the user nobody with that home."""
    return lambda home: (
        Host(run=run_helper, which=lambda program: None, run_as=run_as),
        user(NOBODY, NOBODY, str(home)),
    )


Own = Callable[[Path], tuple[Host, struct_passwd]]


@AS_ROOT
def test_keys_of_another_user(home: Path, own: Own) -> None:
    host, nobody = own(home)
    sshkeys.add_keys(host, nobody, [b"A", b"B"], reset=False)
    sshkeys.remove_keys(host, nobody, [b"A"])
    sshkeys.add_keys(host, nobody, [b"C"], reset=False)
    assert sshkeys.list_keys(host, nobody) == ["B", "C"]
    for path, mode in ((home / ".ssh", 0o700), (home / ".ssh/authorized_keys", 0o600)):
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, NOBODY, NOBODY)
    assert [path.name for path in (home / ".ssh").iterdir()] == ["authorized_keys"]


@AS_ROOT
def test_the_agent_does_not_read_or_write_what_the_user_cannot(home: Path, own: Own) -> None:
    """This covers what no flag of open(2) prevents: here the home itself is a link to a directory of root."""
    host, nobody = own(home)
    secret = home.parent / "secret"
    keys = secret / ".ssh/authorized_keys"
    keys.parent.mkdir(parents=True)
    keys.write_text("root's\n")
    keys.chmod(0o600)
    home.rmdir()
    home.symlink_to(secret)
    shown = f"{home}/.ssh/authorized_keys"
    denied = f"^failed to read '{shown}': Failed to open file “{shown}”: Permission denied$"
    for work in (
        lambda: sshkeys.list_keys(host, nobody),
        lambda: sshkeys.add_keys(host, nobody, [b"mine"], reset=False),
        lambda: sshkeys.remove_keys(host, nobody, [b"root's"]),
    ):
        with pytest.raises(CommandError, match=denied):
            work()
    with pytest.raises(CommandError, match=f"^failed to write to '{shown}': Permission denied$"):
        sshkeys.add_keys(host, nobody, [b"mine"], reset=True)
    keys.unlink()
    keys.parent.rmdir()
    with pytest.raises(CommandError, match=f"^failed to create directory '{home}/.ssh': Permission denied$"):
        sshkeys.add_keys(host, nobody, [b"mine"], reset=False)
    assert list(secret.iterdir()) == []


@AS_ROOT
def test_file_of_root_in_the_users_directory_is_replaced_by_a_reset_only(home: Path, own: Own) -> None:
    host, nobody = own(home)
    sshkeys.add_keys(host, nobody, [], reset=True)
    keys = home / ".ssh/authorized_keys"
    os.chown(keys, 0, 0)
    with pytest.raises(CommandError, match="Permission denied"):
        sshkeys.add_keys(host, nobody, [b"A"], reset=False)
    sshkeys.add_keys(host, nobody, [b"A"], reset=True)
    assert (keys.read_text(), keys.stat().st_uid) == ("A\n", NOBODY)
