"""cpu and memory: the processors and memory blocks that the guest uses, and may give up."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from qga.client.client import Client
from qga.client.errors import CommandFailed, MalformedReply
from qga.client.replies import LogicalProcessor, MemoryBlock
from qga.tool import output
from qga.tool.exits import UsageError

_STATES = ("online", "can go offline")


def cpu(client: Client, options: argparse.Namespace) -> None:
    """List the processors, or change them in order until one cannot be changed: those after it stay as they are."""
    if _is_list(options):
        processors = client.guest_get_vcpus()
        rows = [(one.logical_id, _yes(one.online), _yes(one.can_offline)) for one in processors]
        return _print(options, processors, ("processor", *_STATES), rows)
    rest = [LogicalProcessor(number, options.what == "online") for number in options.numbers]
    while rest:
        changed = client.guest_set_vcpus(rest)
        if not changed:
            raise CommandFailed("guest-set-vcpus", f"processor {rest[0].logical_id} was not changed")
        if not 0 < changed <= len(rest):
            raise MalformedReply("guest-set-vcpus", f"expected a number from 0 to {len(rest)}, got {changed}")
        rest = rest[changed:]
    return None


def memory(client: Client, options: argparse.Namespace) -> None:
    """List the memory blocks, or change them: one that cannot be changed does not stop the others."""
    if _is_list(options):
        blocks = client.guest_get_memory_blocks()
        rows = [(one.phys_index, _yes(one.online), _yes(one.can_offline)) for one in blocks]
        return _print(options, blocks, ("block", *_STATES), rows)
    wanted = [MemoryBlock(number, options.what == "online") for number in options.numbers]
    results = client.guest_set_memory_blocks(wanted)
    if options.json:
        output.json(results)
    failed = [f"{one.phys_index} ({one.response})" for one in results if one.response != "success"]
    if failed:
        raise CommandFailed("guest-set-memory-blocks", f"blocks that were not changed: {', '.join(failed)}")
    return None


def _is_list(options: argparse.Namespace) -> bool:
    """Return whether to list, having checked that there are numbers exactly where something is to be changed."""
    name = options.subcommand
    if options.what == "list":
        if options.numbers:
            raise UsageError(f"{name} list: expected no numbers; {name} online and {name} offline take them")
        return True
    if not options.numbers:
        raise UsageError(f"{name} {options.what}: expected one or more numbers; qga {name} lists them")
    return False


def _print(
    options: argparse.Namespace, reply: object, headings: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    if options.json:
        output.json(reply)
    else:
        output.table(headings, rows)


def _yes(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"
