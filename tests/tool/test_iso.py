"""make-iso: what is on the disk. That cloud-init installs from it is shown in tests/vm/test_packages.py."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pycdlib import PyCdlib

from qga.tool import exits
from tests.tool.test_tool import qga

pytestmark = pytest.mark.forks


def made(tmp_path: Path, *words: str, name: str = "install.iso") -> dict[str, bytes]:
    """Return the files of a disk, by their names in Rock Ridge."""
    path = tmp_path / name
    done = qga("", "make-iso", "--output", str(path), *words)
    assert (done.returncode, done.stderr) == (0, "")
    disk, found = PyCdlib(), {}
    disk.open(str(path))
    assert disk.pvd.volume_identifier.decode().strip() == "cidata"
    for record in disk.list_children(rr_path="/"):
        if record.is_file():
            name = record.rock_ridge.name().decode()
            content = io.BytesIO()
            disk.get_file_from_iso_fp(content, rr_path=f"/{name}")
            found[name] = content.getvalue()
    disk.close()
    return found


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "qga-agent_0.1.0-1_all.deb"
    path.write_bytes(b"a package" * 1000)
    return path


def test_a_seed_with_the_package(tmp_path: Path, package: Path) -> None:
    found = made(tmp_path, str(package))
    assert set(found) == {"meta-data", "user-data", "vendor-data", package.name}
    assert found[package.name] == package.read_bytes()
    assert found["vendor-data"].startswith(b"#!/bin/sh\n")
    assert b'install_file "$package"' in found["vendor-data"]


def test_user_data_are_the_users(tmp_path: Path, package: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"#cloud-config\nhostname: mine\n")
    other = made(tmp_path, str(package), name="other.iso")
    found = made(tmp_path, "--user-data", str(mine), str(package))
    assert found["user-data"] == mine.read_bytes()
    assert found["meta-data"] != other["meta-data"]  # another instance


def test_what_is_refused(tmp_path: Path, package: Path) -> None:
    output = ["--output", str(package)]
    done = qga("", "make-iso", *output, str(package))
    assert (done.returncode, "File exists" in done.stderr) == (exits.HOST, True)
    assert "expected a package" in qga("", "make-iso", *output, __file__).stderr
    assert "No such file" in qga("", "make-iso", *output, "/nonexistent.rpm").stderr
