"""Each room needs no newer Python than the guests, or the hosts, that it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

ROOMS = {"protocol": "3.9", "agent": "3.9", "client": "3.11", "tool": "3.11", "testing": "3.11"}


@pytest.mark.forks
@pytest.mark.parametrize("room", ROOMS)
def test_floor(room: str) -> None:
    vermin = Path(sys.executable).with_name("vermin")
    words = [f"-t={ROOMS[room]}-", "--no-tips", "--violations", "--processes=1", f"qga/{room}"]
    done = subprocess.run([vermin, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
