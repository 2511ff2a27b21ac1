"""The tool `qga` and a real guest over virtio-serial, with our agent in it and with Debian's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.until import until
from tests.vm.guest import AGENT_PORT, REFERENCE_PORT, Disk, Guest
from tests.vm.image import Image, find_program
from tests.vm.interesting import REFERENCE_UNIT, start_reference

MIB = 1 << 20
DATA = "/srv/data"
TOOL = [sys.executable, "-m", "qga.tool"]
AGENTS = pytest.mark.parametrize("port", [AGENT_PORT, REFERENCE_PORT], ids=["ours", "debian"])
HOLD = "touch {0}/held; while [ ! -e {0}/go ]; do sleep 0.05; done; exit 7"


@pytest.fixture(scope="module")
def monitor() -> Iterator[str]:
    """The path of a second monitor; the harness holds the first."""
    directory = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"qga-qmp-{os.getpid()}"
    directory.mkdir(mode=0o700)
    yield str(directory / "qmp")
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def guest(image: Image, monitor: str) -> Iterator[Guest]:
    extra = ["-qmp", f"unix:{monitor},server=on,wait=off"]
    with Guest(image, swap=False, disks=[Disk("virtio-blk-pci", size=256 * MIB)], args=extra) as guest:
        guest.start()
        waiting = start_tool(guest, AGENT_PORT, "--wait", "2m", "ping")
        guest.wait_boot()
        assert waiting.wait(60) == 0, "it waits for a guest that boots"
        start_reference(guest)
        guest.check(f"mkfs.ext4 -q /dev/vdb; mkdir {DATA}; mount /dev/vdb {DATA}")
        yield guest


@pytest.fixture(autouse=True)
def thawed(guest: Guest) -> Iterator[None]:
    yield
    with contextlib.suppress(RuntimeError):  # it is off
        for mountpoint in ("/", DATA):
            guest.shell(f"fsfreeze -u {mountpoint}")


def words_of(address: Path | str, words: tuple[str, ...]) -> list[str]:
    return [*TOOL, "-c", str(address), *words]


def start_tool(guest: Guest, port: str, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words_of(guest.port(port), words), **options)


def qga(address: Path | str, *words: str, status: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words_of(address, words), capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


class Relay:
    """Passes bytes between a tool and an agent's port, until it is cut; then to the next that connects."""

    def __init__(self, path: Path, target: Path, after: int) -> None:
        """Cut the connection once, ``after`` that many bytes from the tool."""
        self.path, self._target, self._left = path, target, after
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def cut(self) -> None:
        self._left = 0

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with near, socket.socket(socket.AF_UNIX) as far:
                    far.connect(str(self._target))
                    self._pass(near, far)

    def _pass(self, near: socket.socket, far: socket.socket) -> None:
        while self._left != 0:
            for source in select.select([near, far], [], [], 0.05)[0]:
                data = source.recv(65536)
                if not data:
                    return
                (far if source is near else near).sendall(data)
                if source is near and self._left > 0:
                    self._left = max(0, self._left - len(data))
        self._left = -1


@AGENTS
def test_what_the_guest_is(guest: Guest, port: str) -> None:
    address = guest.port(port)
    qga(address, "ping")
    assert "commands" in qga(address, "info").stdout
    report = json.loads(qga(address, "status", "--json").stdout)
    assert report["os"]["id"] == "debian"
    assert DATA in [one["mountpoint"] for one in report["disks"]]
    assert json.loads(qga(address, "top", "--json", "--count", "1").stdout)["processors"].keys() == {"cpu0", "cpu1"}
    assert abs(json.loads(qga(address, "time", "--json").stdout)["ahead"]) < 60
    qga(address, "trim")


@AGENTS
def test_programs(guest: Guest, port: str) -> None:
    done = qga(guest.port(port), "exec", "--", "sh", "-c", "echo out; echo err >&2; exit 3", status=3)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    with start_tool(guest, port, "exec", "--", "sh", "-c", "echo first; sleep 300", stdout=subprocess.PIPE) as live:
        assert live.stdout is not None
        assert live.stdout.readline() == b"first\n"
        live.send_signal(signal.SIGINT)
        assert live.wait(60) == 130
    assert guest.shell("sleep 3; pgrep -fx 'sleep 300'")[0] == 1, "it ends with the tool"
    assert guest.check("ls -d /run/qga.*/ /tmp/qga* 2>/dev/null | wc -l").strip() == "0"


@AGENTS
def test_copies(guest: Guest, port: str, tmp_path: Path) -> None:
    address, content = guest.port(port), os.urandom(20 * MIB)
    (tmp_path / "a").write_bytes(content)
    report = json.loads(qga(address, "cp", "--json", str(tmp_path / "a"), f":{DATA}/a").stdout)
    assert report[0]["verified"]
    assert report[0]["atomic"]
    assert guest.check(f"sha256sum {DATA}/a").split()[0] == hashlib.sha256(content).hexdigest()
    qga(address, "cp", f":{DATA}/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == content
    qga(address, "cp", "-r", ":/usr/share/zoneinfo/Europe", str(tmp_path))
    qga(address, "cp", "-r", str(tmp_path / "Europe"), f":{DATA}")
    guest.check(f"diff -r --no-dereference /usr/share/zoneinfo/Europe {DATA}/Europe; rm -r {DATA}/a {DATA}/Europe")


@AGENTS
@pytest.mark.parametrize("up", [True, False], ids=["there", "back"])
def test_a_connection_cut_in_a_copy_leaves_the_old_file(guest: Guest, port: str, tmp_path: Path, up: bool) -> None:
    (tmp_path / "new").write_bytes(bytes(8 * MIB))
    (tmp_path / "old").write_bytes(b"old")
    guest.check(f"head -c {8 * MIB} /dev/zero >{DATA}/new; echo -n old >{DATA}/old")
    pair = (str(tmp_path / "new"), f":{DATA}/old") if up else (f":{DATA}/new", str(tmp_path / "old"))
    with Relay(tmp_path / "relay", guest.port(port), 3 * MIB if up else 1500) as relay:
        done = qga(relay.path, "cp", *pair, status=3)
    assert done.stderr.count("\n") == 1
    assert guest.check(f"cat {DATA}/old") == "old"
    assert (tmp_path / "old").read_bytes() == b"old"
    qga(guest.port(port), "cp", *pair)
    guest.check(f"rm {DATA}/old {DATA}/new")


def held(guest: Guest, address: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Yield a running `qga freeze` whose command runs until the file go exists."""
    words = words_of(address, ("freeze", "--timeout", "90", "--", "sh", "-c", HOLD.format(tmp_path)))
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    until(lambda: (tmp_path / "held").exists() or process.poll() is not None, 90)
    assert process.poll() is None
    return process


def is_frozen(guest: Guest) -> bool:
    number = guest.shell_start(f"timeout 2 sh -c 'echo x >{DATA}/probe & wait'; echo $?")
    return guest.shell_result(number)[1].split()[-1:] == ["124"]


@AGENTS
@pytest.mark.parametrize("ending", ["itself", "SIGINT", "SIGTERM", "cut"])
def test_a_freeze_is_thawed_whatever_happens(guest: Guest, port: str, tmp_path: Path, ending: str) -> None:
    with Relay(tmp_path / "relay", guest.port(port), -1) as relay:
        process = held(guest, relay.path, tmp_path)
        assert is_frozen(guest)
        if ending == "cut":
            relay.cut()
        if ending in ("itself", "cut"):
            (tmp_path / "go").touch()
        else:
            process.send_signal(getattr(signal, ending))
        status = {"itself": 7, "cut": 7, "SIGINT": 130, "SIGTERM": 143}[ending]
        assert process.wait(90) == status
    assert not is_frozen(guest)
    qga(guest.port(port), "ping")


def test_a_port_that_another_client_holds(guest: Guest) -> None:
    with guest.peer():
        done = qga(guest.port(AGENT_PORT), "ping", status=4)
    assert done.stderr.count("\n") == 1
    assert "another client holds the socket" in done.stderr


def test_a_snapshot_is_clean(guest: Guest, monitor: str, tmp_path: Path) -> None:
    # What a cut copy has left open and deleted is no fault of the snapshot, and fsck reports it.
    guest.check(f"systemctl restart qemu-ga {REFERENCE_UNIT}; echo before >{DATA}/file")
    words = ("snapshot", "--json", "--qmp", monitor, "--directory", str(tmp_path), "disk0")
    report = json.loads(qga(guest.port(AGENT_PORT), *words).stdout)
    assert report["seconds"] < 20
    guest.check(f"echo after >{DATA}/file; sync {DATA}/file")
    disk = report["disks"][0]["was"]
    fsck = find_program("e2fsck") or "e2fsck"
    checked = subprocess.run([fsck, "-fn", disk], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    shown = subprocess.run([find_program("debugfs") or "debugfs", "-R", "cat /file", disk], capture_output=True)
    assert shown.stdout == b"before\n"


@AGENTS
def test_sleep_and_wake(guest: Guest, port: str) -> None:
    boot = guest.boot_id()
    process = start_tool(guest, port, "suspend", "ram")
    guest.wait_event("SUSPEND", 90)
    guest.wakeup()
    assert process.wait(60) == 0
    qga(guest.port(port), "--wait", "1m", "ping")
    assert guest.boot_id() == boot


def test_shutdown_waits(guest: Guest) -> None:
    guest.check(f"systemctl stop {REFERENCE_UNIT}")
    qga(guest.port(AGENT_PORT), "shutdown", "--wait")
    guest.wait_exit()
