"""The pid file and going to the background, with real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qga.agent.service.pidfile import PidFile, PidFileError
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.forks

DEADLINE = 20.0  # seconds; far beyond what any step takes, so that a failure does not hang


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with its output in pipes, which a daemon that kept them open would hold."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "qga.pid"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the pid file until its stdin ends."""
    code = (
        "import sys; from qga.agent.service.pidfile import PidFile\n"
        "pidfile = PidFile(sys.argv[1]); pidfile.acquire(); print(flush=True); sys.stdin.read(); pidfile.release()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_file_holds_the_process_id_and_is_removed_by_its_owner(path: Path) -> None:
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_leftover_file_does_not_block_a_start(path: Path) -> None:
    path.write_text("1234567 and more\n")
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_second_start_names_the_holder_and_changes_nothing(path: Path, holder: subprocess.Popen[str]) -> None:
    second = PidFile(str(path))
    with pytest.raises(PidFileError) as caught:
        second.acquire()
    assert str(caught.value) == (
        f"Cannot lock pid file: Resource temporarily unavailable ('{path}' is held by process {holder.pid})"
    )
    second.release()
    assert path.read_text() == f"{holder.pid}\n"
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait(DEADLINE)
    assert not path.exists()
    with PidFile(str(path)):
        assert path.exists()


def test_a_killed_holder_does_not_block_a_start(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait(DEADLINE)
    assert path.exists()
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_it_excludes_and_is_excluded_by_the_record_lock_of_the_reference(path: Path) -> None:
    take_record_lock = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'r+')\n"
        "try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: sys.exit(3)"
    )
    with PidFile(str(path)):
        # A descriptor closed elsewhere in the process would cost an ordinary record lock.
        path.read_text()
        assert python(take_record_lock, str(path)).returncode == 3
    path.write_text("")
    assert python(take_record_lock, str(path)).returncode == 0
    with path.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        with pytest.raises(PidFileError, match="is held by another process"):
            PidFile(str(path)).acquire()


def test_a_child_that_inherited_the_file_does_not_remove_it(path: Path) -> None:
    with PidFile(str(path)) as pidfile:
        child = os.fork()
        if child == 0:
            pidfile.release()
            os._exit(0)
        os.waitpid(child, 0)
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_file_put_in_its_place_is_not_removed(path: Path) -> None:
    with PidFile(str(path)):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_a_file_removed_between_opening_and_locking_is_created_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = fcntl.fcntl, []

    def after_its_last_owner_left(descriptor: int, command: int, argument: bytes) -> object:
        calls.append(command)
        if len(calls) == 1:
            path.unlink()
        return lock(descriptor, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", after_its_last_owner_left)
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert len(calls) == 2


def test_a_path_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PidFileError, match=r"Cannot write pid file '.*': Is a directory"):
        PidFile(str(tmp_path)).acquire()


def test_what_is_not_a_regular_file_is_refused_and_left_alone(path: Path) -> None:
    os.mkfifo(path)
    pidfile = PidFile(str(path))
    with pytest.raises(PidFileError, match="not a regular file"):
        pidfile.acquire()
    pidfile.release()
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_file_that_cannot_be_written_is_removed(path: Path) -> None:
    code = (
        "import resource, sys; from qga.agent.service.pidfile import PidFile\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try: PidFile(sys.argv[1]).acquire()\n"
        "except Exception as error: print(error)"
    )
    assert python(code, str(path)).stdout == f"Cannot write pid file '{path}': File too large\n"
    assert not path.exists()


# A daemon that reports on itself in the file argv[2] once it is ready, and ends on SIGTERM.
DAEMON = """
import os, resource, signal, subprocess, sys, time
from qga.agent.service.daemonize import daemonize
from qga.agent.service.pidfile import PidFile

path, report = sys.argv[1:3]
link = daemonize("qemu-ga", PidFile(path))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(report + ".new", "w") as file:
    print(os.getpid(), os.getsid(0), os.getcwd(), oct(os.umask(0o077)), sep="\\n", file=file)
    print(*(os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)), file=file)
    print(resource.getrlimit(resource.RLIMIT_CORE)[1] == int(sys.argv[3]), file=file)
    print(subprocess.run(["sh", "-c", "echo x && cat"], check=False).returncode, file=file)
os.rename(report + ".new", report)
link.ready()
time.sleep(60)
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report"


@pytest.fixture
def _no_daemon_left(path: Path) -> Iterator[None]:
    yield
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(path.read_text()), signal.SIGKILL)


def core_limit() -> str:
    import resource

    return str(resource.getrlimit(resource.RLIMIT_CORE)[1])


@pytest.mark.usefixtures("_no_daemon_left")
def test_the_daemon_is_detached_when_its_starter_has_exited(path: Path, report: Path) -> None:
    done = python(DAEMON, str(path), str(report), core_limit())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid, session, directory, umask, streams, core, program = report.read_text().splitlines()
    assert path.read_text() == f"{pid}\n"
    assert session not in (pid, str(os.getsid(0)))
    assert (directory, umask) == ("/", "0o77")
    assert streams == "/dev/null /dev/null /dev/null"
    assert core == "True", "the limit for core dumps must be left alone"
    assert program == "0", "programs must get standard streams that are open"
    os.kill(int(pid), signal.SIGTERM)
    until(lambda: not path.exists())
    until(lambda: is_gone(int(pid)))


@pytest.mark.usefixtures("_no_daemon_left")
def test_a_second_daemon_fails_and_leaves_the_first_alone(path: Path, report: Path) -> None:
    assert python(DAEMON, str(path), str(report), "0").returncode == 0
    pid = path.read_text()
    report.unlink()
    done = python(DAEMON, str(path), str(report), "0")
    assert done.returncode == 1
    assert done.stderr == (
        "qemu-ga: Cannot lock pid file: Resource temporarily unavailable "
        f"('{path}' is held by process {pid.strip()})\n"
    )
    assert path.read_text() == pid
    assert not is_gone(int(pid))
    assert not report.exists()


@pytest.mark.usefixtures("_no_daemon_left")
def test_closed_standard_streams_do_no_harm(path: Path, report: Path) -> None:
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", DAEMON, str(path), str(report), "0"]
    assert subprocess.run(command, timeout=DEADLINE, check=False).returncode == 0
    assert "/dev/null /dev/null /dev/null" in report.read_text()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("link.failed('no\\tchannel \\xe4'); sys.exit(1)", "qemu-ga: no\tchannel ä\n"),
        ("sys.exit(0)", "qemu-ga: the agent ended before it was ready\n"),
        ("os.kill(os.getpid(), 9)", "qemu-ga: the agent ended before it was ready\n"),
    ],
)
def test_a_daemon_that_ends_before_it_is_ready_is_a_failed_start(path: Path, end: str, words: str) -> None:
    code = (
        "import os, sys; from qga.agent.service.daemonize import daemonize\n"
        "from qga.agent.service.pidfile import PidFile\n"
        f"link = daemonize('qemu-ga', PidFile(sys.argv[1])); {end}"
    )
    done = python(code, str(path))
    assert (done.returncode, done.stderr) == (1, words)


def test_a_daemon_that_takes_too_long_fails_the_start_and_ends(path: Path, report: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from qga.agent.service.daemonize import DaemonError, daemonize\n"
        "starter = os.getpid()\n"
        "link = daemonize('qemu-ga', timeout=0.2)\n"
        "while os.path.exists(f'/proc/{starter}/fd/0'): time.sleep(0.01)\n"
        "try: link.ready()\n"
        "except DaemonError as error: open(sys.argv[1], 'w').write(str(error))\n"
    )
    done = python(code, str(report))
    assert (done.returncode, done.stderr) == (1, "qemu-ga: the agent was not ready after 0.2 s\n")
    until(lambda: report.exists() and report.read_text())
    assert report.read_text() == "the starting process gave up waiting"


def test_only_the_first_word_counts(path: Path) -> None:
    code = (
        "import sys; from qga.agent.service.daemonize import daemonize\n"
        "link = daemonize('qemu-ga'); link.ready(); link.failed('too late'); link.ready()"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_preserved_descriptor_stays_open(report: Path) -> None:
    code = (
        "import os, sys; from qga.agent.service.daemonize import daemonize\n"
        "kept, other = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), os.open('/dev/zero', os.O_RDONLY)\n"
        "link = daemonize('qemu-ga', preserve=[kept])\n"
        "try: os.fstat(other); link.failed('still open')\n"
        "except OSError: os.write(kept, b'kept'); link.ready()"
    )
    assert python(code, str(report)).stderr == ""
    assert report.read_text() == "kept"
