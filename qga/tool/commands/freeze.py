"""freeze: hold the guest's filesystems still while a command of this machine runs, and thaw whatever happens."""

from __future__ import annotations

import argparse
import subprocess

from qga.client.client import Client
from qga.tool import output
from qga.tool.exits import HELD_TOO_LONG, OURS
from qga.tool.signals import remembered

_GRACE = 2.0  # seconds from SIGTERM to SIGKILL
_TICK = 0.1  # seconds between two looks for a signal that came


def freeze(client: Client, options: argparse.Namespace) -> int:
    """The command's own status."""
    with remembered() as came:
        held = client.freeze()
        with held:
            status = 128 + came[0] if came else _run(options.words, options.limit, came)
    output.note(f"{held.frozen} filesystems were frozen for {held.seconds:.3f} s, {held.thawed} thawed")
    return status


def _run(words: list[str], limit: float, came: list[int]) -> int:
    try:
        child = subprocess.Popen(words)
    except OSError as error:
        output.note(f"{words[0]}: {error.strerror}")
        return OURS
    waited = 0.0
    while True:
        try:
            status = child.wait(_TICK)
            return 128 - status if status < 0 else status
        except subprocess.TimeoutExpired:
            waited += _TICK
        if came or waited >= limit:
            child.terminate()
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if came:
                return 128 + came[0]
            output.note(f"{words[0]} had not ended after {limit:g} s: it was ended, and the filesystems thawed")
            return HELD_TOO_LONG
