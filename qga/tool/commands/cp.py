"""cp, in both directions: a path in the guest is written ``:PATH``, and ``-`` is stdin or stdout here."""

from __future__ import annotations

import argparse
import contextlib
import os
import posixpath
import shutil
import stat
import sys
import time
from collections.abc import Sequence
from functools import partial

from qga.client.client import Client
from qga.client.operations import guest_tools, kinds, parts, placing, quoting
from qga.tool import output, units
from qga.tool.commands import trees
from qga.tool.commands.localtree import LocalTree
from qga.tool.commands.trees import Job, Tree
from qga.tool.exits import FAILED, UsageError

_STREAM = "-"
_REDRAW = 0.1  # seconds
_BESIDE = 62  # columns of a bar beside its name, at most


class Bar:
    """One line on a terminal: how far, how fast, how long still. Nothing where stderr is no terminal."""

    def __init__(self, name: str) -> None:
        room = max(10, shutil.get_terminal_size().columns - _BESIDE)  # a line that wraps is not drawn over
        name = name if len(name) <= room else f"…{name[1 - room :]}"
        self._name, self._start, self._drawn, self._first = output.clean(name), time.monotonic(), 0.0, -1
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
    if _STREAM in options.paths:
        _check_stream(options)
        return _copied(client, options, [_streamed(client, sources[0], target, options)])
    with contextlib.ExitStack() as stack:
        if up:
            jobs, copied = _up(client, sources, target[1:], options)
        else:
            jobs, copied = _down(client, [source[1:] for source in sources], target, options, stack)
        status = _copied(client, options, jobs)
        for tree in copied:
            tree.finish()
    return FAILED if any(tree.skipped for tree in copied) else status


def _up(
    client: Client, sources: Sequence[str], target: str, options: argparse.Namespace
) -> tuple[list[Job], list[Tree]]:
    there = _mode(client, target, True)
    _check_kind(f":{target}", there, options.device)
    into = _is_directory(there)
    _check_target(sources, target, into)
    upload = partial(client.upload, insecure=options.insecure)
    jobs: list[Job] = []
    made: list[Tree] = []
    for source in sources:
        here = _mode(client, source, False)
        _check_kind(source, here, options.device)
        far = os.path.join(target, _last(source)) if into else target
        if _is_directory(here):
            _check_recursive(source, options)
            made.append(trees.to_guest(client, source.rstrip("/") or "/", far, options.keep_setuid, options.insecure))
            jobs += made[-1].files
        else:
            _check_device(source, here, target, there, options)
            jobs.append(Job(source, far, partial(upload, source, far, device=options.device)))
    client.carry_out(placing.tidy(sorted({posixpath.dirname(job.target) or "." for job in jobs})))
    return jobs, made


def _down(
    client: Client, sources: Sequence[str], target: str, options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[list[Job], list[Tree]]:
    """Into a directory, no link in it is followed: a guest may have made it, by an earlier copy."""
    if kinds.is_descriptor(target):
        raise UsageError(
            f"{target} is an open file of a process: expected a file's own name, or {_STREAM} for stdout"
        )
    here = _mode(client, target, False)
    _check_kind(target, here, options.device)
    into = _is_directory(here)
    _check_target(sources, target, into)
    directory = stack.enter_context(LocalTree(target)) if into else None
    jobs: list[Job] = []
    made: list[Tree] = []
    for source in sources:
        there = _mode(client, source, True)
        _check_kind(f":{source}", there, options.device)
        name = _last(source) if into else ""
        if _is_directory(there):
            _check_recursive(source, options)
            tree = stack.enter_context(LocalTree(target, name))
            made.append(trees.from_guest(client, source.rstrip("/") or "/", tree, options.keep_setuid))
            jobs += made[-1].files
        elif directory is not None:
            copy = partial(trees.download, client, source, directory, name, device=options.device)
            jobs.append(Job(source, os.path.join(target, name), copy))
        else:
            _check_device(source, there, target, here, options)
            parts.tidy_beside(target)
            jobs.append(Job(source, target, partial(client.download, source, target, device=options.device)))
    return jobs, made


def _streamed(client: Client, source: str, target: str, options: argparse.Namespace) -> Job:
    device = options.device
    if source == _STREAM:
        there = _mode(client, target[1:], True)
        if _is_directory(there):
            raise UsageError(f"{target[1:]} is a directory: expected the name of a file for what is on stdin")
        _check_kind(target, there, device)
        _check_device("stdin", None, target, there, options)
        return Job(
            "stdin",
            target[1:],
            partial(client.upload, sys.stdin.buffer, target[1:], device=device, insecure=options.insecure),
        )
    there = _mode(client, source[1:], True)
    if _is_directory(there):
        raise UsageError(f"{source[1:]} is a directory: expected a file for stdout")
    _check_kind(source, there, device)
    _check_device(source, there, "stdout", None, options)
    return Job(source[1:], "stdout", partial(client.download, source[1:], sys.stdout.buffer, device=device))


def _copied(client: Client, options: argparse.Namespace, jobs: Sequence[Job]) -> int:
    done = []
    said: set[str] = set()
    for job in jobs:
        bar = Bar(job.source)
        try:
            outcome = job.copy(
                progress=bar, resume=options.resume, verify=not options.no_verify, keep_setuid=options.keep_setuid
            )
        finally:
            bar.end()
        for text in outcome.notes:
            if text not in said:  # once, of however many files
                output.note(text)
        said.update(outcome.notes)
        told = {name: getattr(outcome, name) for name in ("size", "resumed", "verified", "atomic", "seconds")}
        done.append({"source": quoting.shown(job.source), "target": quoting.shown(job.target), **told})
    if options.json:
        output.json(done)
    return 0


def _check_stream(options: argparse.Namespace) -> None:
    if len(options.paths) > 2:
        raise UsageError(f"{_STREAM} is one file: expected one source and one target")
    if options.resume:
        raise UsageError(f"--resume: {_STREAM} has no part that could be gone on from")
    if options.json and options.paths[-1] == _STREAM:
        raise UsageError(f"--json and {_STREAM} both write to stdout")


def _check_target(sources: Sequence[str], target: str, into: bool) -> None:
    if not into and (len(sources) > 1 or target.endswith("/")):
        raise UsageError(f"{target} is not a directory")


def _check_recursive(source: str, options: argparse.Namespace) -> None:
    if not options.recursive:
        raise UsageError(f"{source} is a directory: -r copies it")


def _check_kind(path: str, mode: int | None, device: bool) -> None:
    """A file or a directory, or nothing that is known; with --device a block device."""
    if mode is None or stat.S_ISDIR(mode):
        return
    if why := kinds.refusal(path, mode, device=device):
        hint = "--device reads or writes one" if stat.S_ISBLK(mode) else f"{_STREAM} is stdin or stdout"
        raise UsageError(f"{why}; {hint}")


def _check_device(source: str, one: int | None, target: str, other: int | None, options: argparse.Namespace) -> None:
    """A name that was mistyped must not become a file beside the device."""
    if options.device:
        if options.resume:
            raise UsageError("--resume: a device has no part that could be gone on from")
        if not any(mode is not None and stat.S_ISBLK(mode) for mode in (one, other)):
            raise UsageError(f"--device: expected a block device: neither {source} nor {target} is known to be one")


def _is_directory(mode: int | None) -> bool:
    return mode is not None and stat.S_ISDIR(mode)


def _last(path: str) -> str:
    """The name that it gets in a directory; "" for what has none, whose content goes into the directory itself."""
    name = posixpath.basename(path.rstrip("/"))
    return "" if name in (".", "..") else name


def _mode(client: Client, path: str, in_guest: bool) -> int | None:
    """st_mode of stat(2), by links; None if there is nothing, or nobody says."""
    if in_guest:
        status = client.carry_out(guest_tools.look(path))
        return None if status is None else status.mode
    try:
        return os.stat(path).st_mode
    except OSError:
        return None
