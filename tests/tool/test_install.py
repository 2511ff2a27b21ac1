"""install-agent: what it refuses before it does anything. What it does is in tests/vm/test_packages.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from qga.tool import exits
from tests.client_agents import listening
from tests.tool.test_tool import qga

pytestmark = pytest.mark.forks


@pytest.fixture
def package(tmp_path: Path) -> str:
    path = tmp_path / "qga-agent_0.1.0_all.deb"
    path.touch()
    return str(path)


def test_a_dry_run(tmp_path: Path, package: str) -> None:
    with listening("ours", tmp_path) as address:
        said = qga(address, "install-agent", "--dry-run", package).stdout
    assert said.endswith("; qga-agent_0.1.0_all.deb would take its place\n")


@pytest.mark.parametrize("blocked", ["guest-exec", "guest-file-write"])
def test_a_guest_that_blocks_it(tmp_path: Path, package: str, blocked: str) -> None:
    with listening("ours", tmp_path, blocked) as address:
        done = qga(address, "install-agent", package)
    assert done.returncode == exits.NOT_FOUND
    assert done.stderr.startswith(f"qga: {blocked}: ")
    assert done.stderr.count("\n") == 1


def test_what_is_no_package(tmp_path: Path) -> None:
    with listening("ours", tmp_path) as address:
        assert "expected a package" in qga(address, "install-agent", __file__).stderr
        assert "No such file" in qga(address, "install-agent", "/nonexistent.deb").stderr
