"""The packages of this checkout, built once, and root directories of Debian's releases to install them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.packages.chroot import Chroot
from tests.repository import REPOSITORY

EPOCH = "1790000000"


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests together: they share the packages, and the trees."""
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.xdist_group("packages"))


def build(out: Path, *version: str, umask: int = 0o022, zone: str = "UTC") -> Path:
    """Build the packages, and return where they are."""
    command = [sys.executable, str(REPOSITORY / "packaging" / "build.py"), str(out), *version]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "TZ": zone}
    subprocess.run(command, check=True, env=environment, capture_output=True, umask=umask)
    return out


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("packages") / "packages")


@pytest.fixture(scope="module")
def release() -> Iterator[Callable[[str], Chroot]]:
    """Return a new root directory of the release of Debian that has this name."""
    if os.geteuid() or not shutil.which("mmdebstrap"):
        if os.environ.get("QGA_REQUIRE_VM"):
            pytest.fail("this needs root, and mmdebstrap")
        pytest.skip("this needs root, and mmdebstrap")
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Chroot(name))
