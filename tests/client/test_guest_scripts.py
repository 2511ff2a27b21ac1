"""What the host sends into guests as shell text is for any POSIX sh."""

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
    **{
        name: importlib.resources.files("qga.tool.remote.guest").joinpath(f"{name}.sh").read_text()
        for name in ("program", "terminal")
    },
}
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


def test_all_of_them_are_here() -> None:
    files = {
        path.name.removesuffix(".sh") for path in importlib.resources.files(scripts).iterdir() if ".sh" in path.name
    }
    assert files - {"walk"} == TEXTS.keys() - {"program", "terminal"}


@pytest.mark.forks
@pytest.mark.parametrize("name", TEXTS)
def test_it_is_posix(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    lenient = [] if name != "terminal" else ["-S", "error"]
    words = ["shellcheck", "-s", "sh", "-e", "SC2034", *lenient, "-"]  # SC2034: a name that another text uses
    source = TEXTS[name] if name in ("program", "terminal") else _commented(name)
    done = subprocess.run(words, input=source, capture_output=True, text=True)
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
