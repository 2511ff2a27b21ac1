"""ctrl-C while the tool starts: it ends by SIGINT, and says nothing. Not by chance: the signal comes at an import."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from qga.testing import FakeGuest

pytestmark = pytest.mark.forks

# Sends SIGINT to itself when the module NAME is about to be imported.
_AT_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = {words!r}
from {entry} import main
sys.exit(main())
"""


def started(name: str, entry: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    code = _AT_IMPORT.format(name=name, entry=entry, words=[entry, *words])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    "name",
    ["qga.tool.cli", "argparse", "orjson", "qga.tool.subcommands", "qga.tool.commands.read", "qga.client.client",
     "pybase64", "qga.client.transport", "select"],
)  # fmt: skip
def test_while_modules_are_imported_it_ends_by_the_signal(name: str, fake_guest: FakeGuest) -> None:
    done = started(name, "qga.tool.__main__", "-c", fake_guest.address, "cat", "/x")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("name", ["qga.agent.cli", "qga.agent.config", "qga.agent.service.unit"])
def test_the_agent_too(name: str) -> None:
    done = started(name, "qga.agent.__main__", "--print-unit")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_once_it_works_it_is_130(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-ping", drop=True)
    words = [sys.executable, "-m", "qga.tool", "-c", fake_guest.address, "ping"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "guest-ping" not in fake_guest.commands:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_where_it_is_ignored_it_stays_ignored(fake_guest: FakeGuest) -> None:
    """As nohup(1) and a shell's ``&`` leave it."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    done = started("orjson", "qga.tool.__main__", "-c", fake_guest.address, "info", preexec_fn=ignore)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_entry_imports_nothing_first() -> None:
    """What is imported before the signal has its default action can be interrupted with a traceback."""
    code = "import sys; old = set(sys.modules); import qga.tool.__main__; print(*sorted(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"qga", "qga.tool", "qga.tool.__main__", "__future__"}
