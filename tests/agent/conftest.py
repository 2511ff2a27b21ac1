"""Fixtures that run a complete agent in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningAgent


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of the socket on which the agent listens."""
    return str(tmp_path / "agent.sock")


@pytest.fixture
def agent(tmp_path: Path, path: str) -> Iterator[RunningAgent]:
    """A running agent that listens at ``path``."""
    with RunningAgent(tmp_path, "-m", "unix-listen", "-p", path) as running:
        yield running
