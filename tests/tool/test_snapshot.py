"""qga snapshot: a real QEMU without a guest, and a fake guest for its agent."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qga.testing import FakeGuest
from qga.tool import exits
from tests.tool.test_tool import TOOL, qga
from tests.until import until

pytestmark = [
    pytest.mark.forks,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="qemu-system-x86 is not installed"),
]

DISKS = (("root", "qcow2"), ("data", "raw"), ("ro", "raw"))


def make(path: Path, kind: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, path, "1M"], check=True)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[str]:
    """A QEMU with a qcow2, a raw file of -blockdev, a read-only one and an empty CD-ROM drive; its monitor's path."""
    root, data, fixed = (make(tmp_path / f"{name}.img", kind) for name, kind in DISKS)
    monitor = tmp_path / "qmp.sock"
    words = ["qemu-system-x86_64", "-machine", "pc", "-S", "-m", "32", "-nodefaults", "-display", "none"]
    words += ["-qmp", f"unix:{monitor},server=on,wait=off", "-drive", f"if=none,id=root,format=qcow2,file={root}"]
    words += ["-blockdev", f"driver=raw,node-name=data,file.driver=file,file.filename={data}"]
    words += ["-device", "virtio-blk-pci,drive=data,id=second"]
    words += ["-drive", f"if=none,id=ro,format=raw,readonly=on,file={fixed}", "-drive", "if=none,id=cd,media=cdrom"]
    with subprocess.Popen(words) as process:
        try:
            until(lambda: monitor.exists() or process.poll() is not None)
            assert process.poll() is None
            yield str(monitor)
        finally:
            process.kill()


def backing(overlay: Path) -> str:
    report = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", overlay], check=True, capture_output=True, text=True
    )
    return str(json.loads(report.stdout)["backing-filename"])


def overlays(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*.qcow2"))


def test_all_disks_that_can_be_written_to(machine: str, fake_guest: FakeGuest, tmp_path: Path) -> None:
    done = qga(fake_guest.address, "snapshot", "--json", "--qmp", machine, "--name", "one")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert overlays(tmp_path) == ["data-one.qcow2", "root-one.qcow2"]
    assert [one["disk"] for one in report["disks"]] == ["root", "data"]
    assert backing(tmp_path / "root-one.qcow2") == str(tmp_path / "root.img")
    frozen = [name for name in fake_guest.commands if "fsfreeze" in name]
    assert frozen == ["guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"]
    assert 0 < report["seconds"] < 5
    done = qga(fake_guest.address, "snapshot", "--qmp", f"unix:{machine}", "--directory", str(tmp_path), "second")
    assert done.returncode == 0, done.stderr
    assert "filesystems were frozen for" in done.stderr
    assert len(overlays(tmp_path)) == 3, "of the overlay of the first, one more"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nosuch"], exits.USAGE, "no writable disk nosuch"),
        (["ro"], exits.USAGE, "no writable disk ro"),
        (["--directory", "/no/such/dir"], exits.HOST, "/no/such/dir is not a directory"),
        (["--name", "two"], exits.HOST, "already exists"),
        (["--name", "x" * 300], exits.HOST, "QEMU refused the request"),
    ],
)
def test_an_impossible_snapshot_is_one_sentence(
    machine: str, fake_guest: FakeGuest, tmp_path: Path, words: list[str], status: int, said: str
) -> None:
    (tmp_path / "root-two.qcow2").touch()
    done = qga(fake_guest.address, "snapshot", "--qmp", machine, *words)
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)
    assert said in done.stderr
    assert overlays(tmp_path) == ["root-two.qcow2"]
    assert fake_guest.commands.count("guest-fsfreeze-freeze") == fake_guest.commands.count("guest-fsfreeze-thaw")


@pytest.mark.slow
def test_no_monitor(fake_guest: FakeGuest, tmp_path: Path) -> None:
    for address in (str(tmp_path / "none"), "127.0.0.1:1", fake_guest.address):
        done = qga(fake_guest.address, "snapshot", "--qmp", address)
        assert (done.returncode, done.stderr.count("\n")) == (exits.HOST, 1)
        assert "monitor" in done.stderr
    assert not any("freeze" in name for name in fake_guest.commands)


def test_a_guest_that_does_not_freeze(machine: str, fake_guest: FakeGuest, tmp_path: Path) -> None:
    fake_guest.fault("guest-fsfreeze-freeze", error="failed to freeze /: Device or resource busy")
    done = qga(fake_guest.address, "snapshot", "--qmp", machine)
    assert (done.returncode, done.stderr.count("\n")) == (exits.FAILED, 1)
    assert overlays(tmp_path) == []
    assert fake_guest.commands[-1] == "guest-fsfreeze-thaw"


def test_a_guest_that_was_thawed_too_early(machine: str, fake_guest: FakeGuest, tmp_path: Path) -> None:
    """The disks have new files by then, which their owner must know."""
    fake_guest.fault("guest-fsfreeze-thaw", error="the filesystems were thawed already")
    done = qga(fake_guest.address, "snapshot", "--qmp", machine, "--name", "late")
    assert (done.returncode, done.stdout) == (exits.FAILED, "")
    assert "thawed already; the guest writes to " in done.stderr
    assert all(f"{tmp_path}/{name}" in done.stderr for name in overlays(tmp_path))
    assert len(overlays(tmp_path)) == 2


def test_ctrl_c_thaws(machine: str, fake_guest: FakeGuest, tmp_path: Path) -> None:
    fake_guest.fault("guest-fsfreeze-freeze", delay=1.0)
    process = subprocess.Popen(
        [*TOOL, "-c", fake_guest.address, "snapshot", "--qmp", machine], stderr=subprocess.PIPE
    )
    wait_for(fake_guest, "guest-fsfreeze-freeze")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == 130
    assert overlays(tmp_path) == []
    assert fake_guest.commands[-1] == "guest-fsfreeze-thaw"


def wait_for(guest: Any, command: str) -> None:
    until(lambda: command in guest.commands)
