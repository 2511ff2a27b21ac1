"""The .rpm in a root directory: what its scripts do, and that the agent runs there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packages.chroot import Chroot
from tests.packages.conftest import build
from tests.packages.test_debian import machine
from tests.unit_test_of_qemu import ROWS

pytestmark = [
    pytest.mark.forks,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("rpm"), reason="rpm is not installed"),
]


def rpm(chroot: Chroot, *words: str | Path) -> str:
    """Run this machine's rpm on the tree; the packages' scripts run in it."""
    done = subprocess.run(["rpm", "--root", chroot.root, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_installation_upgrade_and_removal(release: Callable[[str], Chroot], packages: Path, tmp_path: Path) -> None:
    chroot = release("bookworm")
    (first,), (second,) = (out.glob("qga-agent-*.rpm") for out in (packages, build(tmp_path / "later", "0.1.1")))
    (chroot.root / "etc/sysconfig").mkdir()
    (chroot.root / "etc/sysconfig/qemu-ga").write_text("BLACKLIST_RPC=guest-file-open,guest-exec\n")
    chroot.check("dpkg", "--purge", "qemu-guest-agent")
    before = chroot.files()

    assert "took over from /etc/sysconfig/qemu-ga: block-rpcs" in rpm(chroot, "--install", "--nodeps", first)
    assert "block-rpcs=guest-exec,guest-file-open" in chroot.check("qemu-ga", "--dump-conf").splitlines()
    alias = chroot.root / "etc/systemd/system/qemu-guest-agent.service"
    assert str(alias.readlink()) == "/usr/lib/systemd/system/qemu-ga.service"

    assert "took over" not in rpm(chroot, "--upgrade", "--nodeps", second)
    assert rpm(chroot, "--query", "qga-agent") == "qga-agent-0.1.1-1.noarch\n"
    assert alias.is_symlink()
    assert list((chroot.root / "usr/lib/qga-agent/qga/__pycache__").iterdir())
    (chroot.root / "etc/qemu/qemu-ga.conf").write_text("[general]\n")
    (chroot.root / "sys/devices/system/cpu/cpu0").mkdir(parents=True)
    with machine(chroot) as found:
        for row in ROWS:
            row(found)

    shutil.rmtree(chroot.root / "srv")
    shutil.rmtree(chroot.root / "sys/devices")
    rpm(chroot, "--erase", "--nodeps", "qga-agent")
    left = chroot.files() - before
    assert left == {"etc/qemu", "etc/qemu/qemu-ga.conf.rpmsave", "usr/lib/sysusers.d"}  # the last is systemd's
