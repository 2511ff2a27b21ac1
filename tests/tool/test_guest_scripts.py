"""What the tool runs in guests as shell text is for any POSIX sh."""

from __future__ import annotations

import importlib.resources
import shutil
import subprocess

import pytest

from qga.tool.remote import guest

FILES = sorted(
    path.name for path in importlib.resources.files("qga.tool.remote.guest").iterdir() if path.name.endswith(".sh")
)
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


def test_no_module_has_shell_text_of_its_own() -> None:
    """The programs that the tool starts with sh -c are files here, but for those of one word."""
    package = importlib.resources.files("qga.tool")
    inline = [
        path.name
        for folder in ("commands", "remote")
        for path in package.joinpath(folder).iterdir()
        if path.name.endswith(".py") and '"-c", ' in path.read_text() and '"-c", ":"' not in path.read_text()
    ]
    assert inline == []


@pytest.mark.forks
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("name", FILES)
def test_it_is_posix(name: str) -> None:
    source = importlib.resources.files("qga.tool.remote.guest").joinpath(name).read_text()
    done = subprocess.run(["shellcheck", "-s", "sh", "-"], input=source, capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.forks
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", FILES)
def test_shells_read_it(name: str, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([*SHELLS[shell], "-n"], input=guest.text(name), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", FILES)
def test_comments_stay_here(name: str) -> None:
    """A request of at most 4096 bytes is what QEMU's agent reads at once."""
    sent = guest.text(name)
    assert b"\n#" not in sent
    assert len(sent) < 3500


@pytest.mark.parametrize("name", FILES)
def test_what_is_sent_is_the_file(name: str) -> None:
    """Lines are left out whole, or not at all: no text is cut at a # in it."""
    kept = guest.text(name).decode().splitlines()
    whole = importlib.resources.files("qga.tool.remote.guest").joinpath(name).read_text().splitlines()
    assert kept == [line for line in whole if not line.lstrip().startswith("#")]
