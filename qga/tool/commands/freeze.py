"""freeze: freeze the guest's filesystems while a command of this machine runs, and thaw them whatever happens."""

from __future__ import annotations

import argparse
import subprocess

from qga.client.client import Client
from qga.tool import output
from qga.tool.exits import COMMAND_TIMED_OUT, TOOL_FAILED
from qga.tool.signals import remembered

_GRACE = 2.0  # seconds from SIGTERM to SIGKILL
_TICK = 0.1  # seconds between two checks for a signal


def freeze(client: Client, options: argparse.Namespace) -> int:
    """Return the command's exit status."""
    with remembered() as received:
        held = client.freeze()
        with held:
            status = 128 + received[0] if received else _run(options.words, options.limit, received)
    output.note(f"{held.frozen} filesystems were frozen for {held.seconds:.3f} s, {held.thawed} thawed")
    return status


def _run(words: list[str], limit: float, received: list[int]) -> int:
    """Run a command until it ends, ``limit`` seconds are over or a signal comes; return its exit status or ours."""
    try:
        child = subprocess.Popen(words)
    except OSError as error:
        output.note(f"{words[0]} cannot be run: {error.strerror}")
        return TOOL_FAILED
    waited = 0.0
    while True:
        try:
            status = child.wait(_TICK)
            return 128 - status if status < 0 else status
        except subprocess.TimeoutExpired:
            waited += _TICK
        if received or waited >= limit:
            child.terminate()
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if received:
                return 128 + received[0]
            output.note(f"{words[0]} was still running after {limit:g} s and was ended; the filesystems are thawed")
            return COMMAND_TIMED_OUT
