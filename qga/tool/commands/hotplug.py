"""cpu and memory: the processors and memory blocks that the guest uses, and may give up."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from qga.client.client import Client
from qga.client.errors import CommandFailed, MalformedReply
from qga.tool import output
from qga.tool.exits import UsageError


def cpu(client: Client, options: argparse.Namespace) -> None:
    """One after the other, as far as it goes: what comes behind a processor that cannot be changed stays as it is."""
    if options.what == "list":
        return _list(options, client.call_raw("guest-get-vcpus"), ("processor", "logical-id"))
    wanted = _wanted(options, "logical-id")
    while wanted:
        changed = client.call_raw("guest-set-vcpus", {"vcpus": wanted})
        if not changed:
            raise CommandFailed("guest-set-vcpus", f"processor {wanted[0]['logical-id']} stays as it is")
        if not 0 < changed <= len(wanted):
            raise MalformedReply("guest-set-vcpus", f"expected how many of {len(wanted)} were changed, got {changed}")
        wanted = wanted[changed:]
    return None


def memory(client: Client, options: argparse.Namespace) -> None:
    """Each block by itself: one that cannot be changed does not keep the others."""
    if options.what == "list":
        return _list(options, client.call_raw("guest-get-memory-blocks"), ("block", "phys-index"))
    told = client.call_raw("guest-set-memory-blocks", {"mem-blks": _wanted(options, "phys-index")})
    if options.json:
        output.json(told)
    failed = [one for one in told if one["response"] != "success"]
    if failed:
        each = (f"{one['phys-index']} ({one['response']})" for one in failed)
        raise CommandFailed("guest-set-memory-blocks", f"blocks that stay as they are: {', '.join(each)}")
    return None


def _wanted(options: argparse.Namespace, number: str) -> list[dict[str, Any]]:
    if not options.numbers:
        raise UsageError(f"expected the numbers of what goes {options.what}: qga {options.subcommand} lists them")
    return [{number: one, "online": options.what == "online"} for one in options.numbers]


def _list(options: argparse.Namespace, told: Sequence[dict[str, Any]], head: tuple[str, str]) -> None:
    if options.json:
        return output.json(told)
    if options.numbers:
        raise UsageError("expected online or offline before the numbers")
    title, number = head
    rows = [(one[number], *(_yes(one.get(name)) for name in ("online", "can-offline"))) for one in told]
    return output.table((title, "online", "can go offline"), rows)


def _yes(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, "?") if isinstance(value, bool) else "?"
