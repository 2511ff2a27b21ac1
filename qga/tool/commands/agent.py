"""ping and info: whether an agent answers, and what it can do."""

from __future__ import annotations

import argparse
import sys
import time

from qga.client.client import Client
from qga.tool import output


def ping(client: Client, options: argparse.Namespace) -> None:
    """Ask the agent for nothing, and on a terminal say how long that took."""
    begun = time.perf_counter()
    client.guest_ping()
    seconds = time.perf_counter() - begun
    if options.json:
        output.json({"alive": True, "seconds": round(seconds, 6)})
    elif sys.stdout.isatty():
        print(f"answered in {seconds * 1e3:.1f} ms")


def info(client: Client, options: argparse.Namespace) -> None:
    """Print the agent's version, and which commands it has and allows."""
    agent = client.guest_info()
    if options.json:
        return output.json(agent)
    output.line(f"version {agent.version}, {len(agent.supported_commands)} commands")
    rows = [(command.name, "yes" if command.enabled else "no") for command in agent.supported_commands]
    return output.table(("command", "enabled"), rows)
