"""What the client sends into guests as shell text is for any POSIX sh; the tool's own is tests/tool's."""

from __future__ import annotations

import importlib.resources
import shutil
import subprocess

import pytest

from qga.client.operations import scripts

OF_COPIES = ("directories", "finish", "links", "prepare", "remove", "settle", "tidy")
TEXTS = {
    **{name: scripts.text(name) for name in OF_COPIES},
    **{name: scripts.alone(name) for name in ("entries", "list")},
}
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


def test_all_of_them_are_here() -> None:
    files = {
        path.name.removesuffix(".sh") for path in importlib.resources.files(scripts).iterdir() if ".sh" in path.name
    }
    assert files - {"walk"} == TEXTS.keys()


@pytest.mark.forks
@pytest.mark.parametrize("name", TEXTS)
def test_it_is_posix(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    words = ["shellcheck", "-s", "sh", "-e", "SC2034", "-"]  # SC2034: a name that another text uses
    done = subprocess.run(words, input=_commented(name), capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.forks
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", TEXTS)
def test_shells_read_it(name: str, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([*SHELLS[shell], "-n"], input=TEXTS[name], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", OF_COPIES)
def test_comments_stay_here(name: str) -> None:
    """A request of at most 4096 bytes is what QEMU's agent reads at once."""
    assert "\n#" not in TEXTS[name]
    assert len(TEXTS[name]) < 3500


def _commented(name: str) -> str:
    whole = importlib.resources.files(scripts)
    parts = ["walk", name] if name in OF_COPIES else [name]
    return "".join(whole.joinpath(f"{part}.sh").read_text() for part in parts)
