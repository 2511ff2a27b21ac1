"""top: what the guest does, live. On a terminal a screen, until q or ctrl-C; elsewhere plain text, or JSON a line."""

from __future__ import annotations

import argparse
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from qga.client.client import Client
from qga.tool import output, units
from qga.tool.commands.sampling import Rates, amount, rates, sample
from qga.tool.exits import MissingExtraError, UsageError

_MAX_KEYS = 4096  # bytes of typing that are read at a time


Quits: TypeAlias = Callable[[float], bool]  # waits for some seconds, and returns whether q was typed


def top(client: Client, options: argparse.Namespace) -> None:
    """Show rates again and again."""
    if options.interval <= 0:
        raise UsageError("--interval: expected more than 0 seconds")
    if sys.stdout.isatty() and sys.stdin.isatty() and not options.json:
        return _screen(client, options)
    for number, found in enumerate(_rates(client, options, _never)):
        if options.json:
            output.json(found._asdict())
        else:
            print("\n" * bool(number) + _plain(found))
        sys.stdout.flush()
    return None


def _rates(client: Client, options: argparse.Namespace, quits: Quits) -> Iterator[Rates]:
    """Yield what happens in each interval, until there were as many as wanted or the user quits."""
    old, left = sample(client), options.count
    while (left is None or left > 0) and not quits(options.interval):
        new = sample(client)
        yield rates(old, new)
        old, left = new, None if left is None else left - 1


def _screen(client: Client, options: argparse.Namespace) -> None:
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError as error:
        raise MissingExtraError("rich is not installed: run pip install qga[host]") from error
    from qga.tool.commands.screen import drawn

    name = client.address.text
    with _keys() as quits, Live(console=Console(), screen=True, auto_refresh=False) as live:
        now = sample(client)
        live.update(drawn(name, rates(now, now), options.interval, live.console.height), refresh=True)
        for found in _rates(client, options, quits):
            live.update(drawn(name, found, options.interval, live.console.height), refresh=True)


def _never(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@contextmanager
def _keys() -> Iterator[Quits]:
    """Take keys as they are typed, while it lasts."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def quits(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([descriptor], [], [], left)[0]:
                typed = os.read(descriptor, _MAX_KEYS)
                if not typed or b"q" in typed:
                    return True
        return False

    try:
        tty.setcbreak(descriptor)
        yield quits
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _plain(found: Rates) -> str:
    """Return the rates as a few lines of text."""
    lines = []
    if found.load:
        lines.append(f"load {units.load(found.load)}")
    if found.processors:
        lines.append("busy " + "  ".join(f"{name} {part:.0%}" for name, part in found.processors.items()))
    for kinds in (found.disks, found.interfaces):
        lines += [f"{output.clean(name)}  {_spelled(per_second)}" for name, per_second in (kinds or {}).items()]
    return "\n".join(lines)


def _spelled(per_second: dict[str, float]) -> str:
    return "  ".join(f"{name} {amount(name, value)}/s" for name, value in per_second.items())
