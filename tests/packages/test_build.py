"""The packages, as far as they can be judged without a guest: tests/vm/test_packages.py installs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lines import Lines
from tests.packages.conftest import build
from tests.repository import REPOSITORY
from tests.until import until

pytestmark = [pytest.mark.forks, pytest.mark.slow]


def test_two_builds_are_the_same(packages: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "again", umask=0o077, zone="Asia/Tokyo")
    once, again = ({path.name: path.read_bytes() for path in out.iterdir()} for out in (packages, other))
    assert sorted(once) == sorted(again)
    assert len(once) == 5
    assert [name for name, content in once.items() if content != again[name]] == []


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed")
def test_lintian_has_nothing_to_say(packages: Path) -> None:
    words = ["lintian", "--allow-root", "--fail-on", "warning,error", *map(str, packages.glob("*.deb"))]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("rpmlint") is None, reason="rpmlint is not installed")
def test_rpmlint_has_nothing_to_say(packages: Path) -> None:
    words = ["rpmlint", "-c", str(REPOSITORY / "packaging" / "rpmlint.toml"), *map(str, packages.glob("*.rpm"))]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout


def test_scripts_are_posix() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    here = REPOSITORY / "packaging"
    done = subprocess.run(["shellcheck", "-s", "sh", here / "when-thawed", *(here / "scripts").iterdir()])
    assert done.returncode == 0


def test_one_file_serves(packages: Path, tmp_path: Path) -> None:
    """The schema, the handlers and the profiles are read from within the archive."""
    words = ["-m", "unix-listen", "-p", tmp_path / "sock", "-t", tmp_path, "-c", "/dev/null", "--profile", "info"]
    agent = subprocess.Popen([sys.executable, "-I", str(packages / "qemu-ga.pyz"), *map(str, words)])
    try:
        until(lambda: (tmp_path / "sock").exists())
        with Lines.connect(tmp_path / "sock") as peer:
            peer.send(b'{"execute":"guest-get-host-name"}\n{"execute":"guest-exec","arguments":{"path":"true"}}\n')
            assert "host-name" in json.loads(peer.read_line(30))["return"]
            assert "has been disabled" in json.loads(peer.read_line(30))["error"]["desc"]
    finally:
        agent.terminate()
        assert agent.wait(30) == 0


def test_every_key_is_in_the_configuration(packages: Path, tmp_path: Path) -> None:
    """Each is in a comment, at its default; without the comment signs it means the same."""
    subprocess.run(["dpkg-deb", "-x", next(packages.glob("qga-agent*.deb")), tmp_path], check=True)
    shipped = tmp_path / "etc/qemu/qemu-ga.conf"
    agent = [sys.executable, "-m", "qga.agent", "--dump-conf", "-c"]
    as_shipped = subprocess.run([*agent, shipped], capture_output=True, check=True).stdout
    lines = [line.removeprefix("#") for line in shipped.read_text().splitlines() if not line.startswith("# ")]
    (tmp_path / "whole").write_text("\n".join(line for line in lines if not line.endswith("=")))
    assert subprocess.run([*agent, tmp_path / "whole"], capture_output=True, check=True).stdout == as_shipped
