"""cp, in both directions: a path in the guest is written ``:PATH``."""

from __future__ import annotations

import argparse
import os
import posixpath
import sys
import time

from qga.client import programs
from qga.client.client import Client
from qga.client.tool import show, trees, units
from qga.client.tool.exits import FAILED, UsageError

_REDRAW = 0.1  # seconds


class Bar:
    """One line on a terminal: how far, how fast, how long still. Nothing where stderr is no terminal."""

    def __init__(self, name: str) -> None:
        self._name, self._start, self._drawn, self._first = show.clean(name), time.monotonic(), 0.0, -1
        self._on = sys.stderr.isatty()

    def __call__(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if self._first < 0:
            self._first = done
        if not self._on or (done < whole and now - self._drawn < _REDRAW):
            return
        self._drawn = now
        rate = (done - self._first) / max(now - self._start, 0.001)
        left = units.span((whole - done) / rate) if rate else "?"
        part = done / whole if whole else 1.0
        drawn = "#" * int(part * 20)
        sys.stderr.write(f"\r{self._name} [{drawn:20}] {part:4.0%}  {units.size(rate)}/s  {left} left\033[K")
        sys.stderr.flush()

    def end(self) -> None:
        if self._on and self._drawn:
            sys.stderr.write("\r\033[K")


def cp(client: Client, options: argparse.Namespace) -> int:
    *sources, target = options.paths
    if not sources:
        raise UsageError("expected SRC… DST")
    up = target.startswith(":")
    for source in sources:
        if source.startswith(":") == up:
            raise UsageError(f"{source} to {target}: one of them must be in the guest, written as :PATH")
    target = target[1:] if up else target
    into = _is_directory(client, target, up)
    if not into and (len(sources) > 1 or target.endswith("/")):
        raise UsageError(f"{target} is no directory")
    pairs: list[tuple[str, str]] = []
    copied: list[trees.Tree] = []
    for source in (word.removeprefix(":") if not up else word for word in sources):
        name = posixpath.basename(source.rstrip("/"))
        far = os.path.join(target, name) if into else target
        if _is_directory(client, source, not up):
            if not options.recursive:
                raise UsageError(f"{source} is a directory: -r copies it")
            tree = (trees.to_guest if up else trees.from_guest)(client, source.rstrip("/") or "/", far)
            pairs += tree.files
            copied.append(tree)
        else:
            pairs.append((source, far))
    done = []
    for source, far in pairs:
        bar = Bar(source)
        try:
            work = client.upload if up else client.download
            outcome = work(source, far, progress=bar, resume=options.resume, verify=not options.no_verify)
        finally:
            bar.end()
        for text in outcome.notes:
            show.note(text)
        done.append({"source": source, "target": far, "size": outcome.size, "resumed": outcome.resumed,
                     "verified": outcome.verified, "atomic": outcome.atomic, "seconds": outcome.seconds})  # fmt: skip
    for tree in copied:
        tree.finish()
    if options.json:
        show.json(done)
    return FAILED if any(tree.skipped for tree in copied) else 0


def _is_directory(client: Client, path: str, in_guest: bool) -> bool:
    if not in_guest:
        return os.path.isdir(path)
    status = client.carry_out(programs.look(path))
    return status is not None and status.directory
