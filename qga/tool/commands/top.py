"""top: what the guest does, live. On a terminal a screen, until q or ctrl-C; elsewhere plain text, or JSON a line."""

from __future__ import annotations

import argparse
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qga.client.client import Client
from qga.tool import output
from qga.tool.commands.sampling import Rates, amount, rates, sample
from qga.tool.exits import MissingExtraError, UsageError

_FRAMES = 4096  # bytes of typing that are looked at


def top(client: Client, options: argparse.Namespace) -> None:
    if options.interval <= 0:
        raise UsageError("--interval: expected more than 0 seconds")
    if sys.stdout.isatty() and sys.stdin.isatty() and not options.json:
        return _screen(client, options)
    for number, found in enumerate(_rates(client, options)):
        if options.json:
            output.json(found._asdict())
        else:
            print("\n" * bool(number) + _plain(found))
        sys.stdout.flush()
    return None


def _rates(client: Client, options: argparse.Namespace) -> Iterator[Rates]:
    old, left = client.carry_out(sample()), options.count
    while left is None or left > 0:
        time.sleep(options.interval)
        new = client.carry_out(sample())
        yield rates(old, new)
        old, left = new, None if left is None else left - 1


def _screen(client: Client, options: argparse.Namespace) -> None:
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError as error:
        raise MissingExtraError("rich is not installed: pip install qga[host]") from error
    from qga.tool.commands.screen import drawn

    name = client.address.text
    old, left = client.carry_out(sample()), options.count
    with _keys() as quits, Live(console=Console(), screen=True, auto_refresh=False) as live:
        live.update(drawn(name, rates(old, old), options.interval, live.console.height), refresh=True)
        while (left is None or left > 0) and not quits(options.interval):
            new = client.carry_out(sample())
            live.update(drawn(name, rates(old, new), options.interval, live.console.height), refresh=True)
            old, left = new, None if left is None else left - 1


@contextmanager
def _keys() -> Iterator[Any]:
    """Gives a function that waits some seconds, and says whether somebody has typed q."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def quits(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([descriptor], [], [], left)[0]:
                typed = os.read(descriptor, _FRAMES)
                if not typed or b"q" in typed:
                    return True
        return False

    try:
        tty.setcbreak(descriptor)
        yield quits
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _plain(found: Rates) -> str:
    lines = []
    if found.load:
        lines.append("load " + " ".join(f"{found.load[name]:.2f}" for name in ("load1m", "load5m", "load15m")))
    if found.processors:
        lines.append("busy " + "  ".join(f"{name} {part:.0%}" for name, part in found.processors.items()))
    for kinds in (found.disks, found.interfaces):
        lines += [f"{output.clean(name)}  {spelled(told)}" for name, told in (kinds or {}).items()]
    return "\n".join(lines)


def spelled(told: dict[str, float]) -> str:
    return "  ".join(f"{name} {amount(name, value)}/s" for name, value in told.items())
