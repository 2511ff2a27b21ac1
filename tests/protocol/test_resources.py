"""The package in a zip archive: its schema, its handlers and its profiles are read from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qga.protocol import resources
from tests.repository import REPOSITORY


@pytest.mark.forks
def test_the_agent_runs_from_an_archive(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for room in ("protocol", "agent"):
        shutil.copytree(REPOSITORY / "qga" / room, tree / "qga" / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "qga" / "__init__.py", tree / "qga")
    shutil.copytree(REPOSITORY / "schema", tree / "qga" / "_schema")
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tree)
    words = [
        "--explain",
        '{"execute": "guest-exec", "arguments": {"path": "x"}}',
        "--profile",
        "info",
        "-c",
        os.devnull,
    ]
    environment = {"PYTHONPATH": archive, "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-m", "qga.agent", *words], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith(f"denied: {archive}/qga/agent/policy/profiles/info.toml, line ")


def test_what_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "no", tmp_path / "file" / "x"):
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            resources.read(str(path))
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            resources.list_directory(str(path))
