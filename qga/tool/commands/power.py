"""suspend, shutdown, reboot and halt."""

from __future__ import annotations

import argparse
import time

from qga.client.client import Client
from qga.client.errors import AgentTimeout, AgentUnreachable

_MODES = {"shutdown": "powerdown", "reboot": "reboot", "halt": "halt"}
_MAX_WAIT = 300.0  # seconds that a guest may take to go
_PING_TIMEOUT = 5.0  # seconds
_PAUSE = 0.5  # seconds between two pings


def suspend(client: Client, options: argparse.Namespace) -> None:
    """Suspend the guest, the way ``options.how`` says."""
    {
        "ram": client.guest_suspend_ram,
        "disk": client.guest_suspend_disk,
        "hybrid": client.guest_suspend_hybrid,
    }[options.how]()


def shutdown(client: Client, options: argparse.Namespace) -> None:
    """Shut the guest down; with ``options.gone``, return once no agent answers any more."""
    client.guest_shutdown(_MODES[options.subcommand])
    deadline = time.monotonic() + _MAX_WAIT
    while options.gone:
        try:
            client.guest_ping(timeout=_PING_TIMEOUT)
        except (AgentUnreachable, AgentTimeout):
            return
        if time.monotonic() >= deadline:
            raise AgentTimeout(f"the agent still answers after {_MAX_WAIT:g} s", command="guest-shutdown")
        time.sleep(_PAUSE)
