"""A whole agent, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningAgent


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where it listens."""
    return str(tmp_path / "agent.sock")


@pytest.fixture
def agent(tmp_path: Path, path: str) -> Iterator[RunningAgent]:
    """One that listens at ``path``."""
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path) as running:
        yield running
