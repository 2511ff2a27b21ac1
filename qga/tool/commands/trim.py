"""trim: tell the guest's disks which blocks are unused."""

from __future__ import annotations

import argparse

from qga.client.client import Client
from qga.tool import output, units


def trim(client: Client, options: argparse.Namespace) -> None:
    """Trim every filesystem, and print for each how much, or why not."""
    reply = client.guest_fstrim()
    if options.json:
        return output.json(reply)
    return output.table(
        ("path", "trimmed"), [(one.path, one.error or units.size(one.trimmed or 0)) for one in reply.paths]
    )
