"""cp, in both directions: a path in the guest is written ``:PATH``, and ``-`` is stdin or stdout here."""

from __future__ import annotations

import argparse
import contextlib
import os
import posixpath
import stat
import sys
from collections.abc import Sequence
from functools import partial

from qga.client import quoting
from qga.client.client import Client
from qga.client.operations import guest_tools, kinds, parts, placing
from qga.tool import output
from qga.tool.commands import trees
from qga.tool.commands.localtree import LocalTree
from qga.tool.commands.progress import Bar
from qga.tool.commands.trees import Job, Tree
from qga.tool.exits import FAILED, UsageError

_STREAM = "-"


def cp(client: Client, options: argparse.Namespace) -> int:
    """Copy, and return FAILED where something of a tree had to be left out."""
    *sources, target = options.paths
    if not sources:
        raise UsageError(f"cp: expected one or more sources and a target, got only {target}")
    is_upload = target.startswith(":")
    for source in sources:
        if source.startswith(":") == is_upload:
            where = "in the guest" if is_upload else "on this machine"
            raise UsageError(f"{source} and {target} are both {where}: a path in the guest is written :PATH")
    if _STREAM in options.paths:
        _check_stream(options)
        _copy(options, [_streamed(client, sources[0], target, options)])
        return 0
    with contextlib.ExitStack() as stack:
        if is_upload:
            jobs, copied = _uploads(client, sources, target[1:], options)
        else:
            jobs, copied = _downloads(client, [source[1:] for source in sources], target, options, stack)
        _copy(options, jobs)
        for tree in copied:
            tree.finish()
    return FAILED if any(tree.skipped for tree in copied) else 0


def _uploads(
    client: Client, sources: Sequence[str], target: str, options: argparse.Namespace
) -> tuple[list[Job], list[Tree]]:
    """Return the files to copy into the guest, and the trees of some; the directories of these are made."""
    target_mode = _guest_mode(client, target)
    _check_kind(f":{target}", target_mode, options.device)
    into = _is_directory(target_mode)
    _check_target(sources, target, into)
    upload = partial(client.upload, insecure=options.insecure)
    jobs: list[Job] = []
    made: list[Tree] = []
    for source in sources:
        mode = _local_mode(source)
        _check_kind(source, mode, options.device)
        path = os.path.join(target, _last(source)) if into else target
        if _is_directory(mode):
            _check_recursive(source, options)
            made.append(
                trees.to_guest(client, source.rstrip("/") or "/", path, options.keep_setuid, options.insecure)
            )
            jobs += made[-1].files
        else:
            _check_device(source, mode, target, target_mode, options)
            jobs.append(Job(source, path, partial(upload, source, path, device=options.device)))
    client.carry_out(placing.tidy(sorted({posixpath.dirname(job.target) or "." for job in jobs})))
    return jobs, made


def _downloads(
    client: Client, sources: Sequence[str], target: str, options: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[list[Job], list[Tree]]:
    """Return the files to copy from the guest, and the trees of some; the directories of these are made.

    In a target that is a directory no link is followed: a guest may have made it, by an earlier copy.
    """
    if kinds.is_descriptor(target):
        raise UsageError(
            f"{target} is an open file of a process: expected a file's own name, or {_STREAM} for stdout"
        )
    target_mode = _local_mode(target)
    _check_kind(target, target_mode, options.device)
    into = _is_directory(target_mode)
    _check_target(sources, target, into)
    directory = stack.enter_context(LocalTree(target)) if into else None
    jobs: list[Job] = []
    made: list[Tree] = []
    for source in sources:
        mode = _guest_mode(client, source)
        _check_kind(f":{source}", mode, options.device)
        name = _last(source) if into else ""
        if _is_directory(mode):
            _check_recursive(source, options)
            tree = stack.enter_context(LocalTree(target, name))
            made.append(trees.from_guest(client, source.rstrip("/") or "/", tree, options.keep_setuid))
            jobs += made[-1].files
        elif directory is not None:
            copy = partial(trees.download, client, source, directory, name, device=options.device)
            jobs.append(Job(source, os.path.join(target, name), copy))
        else:
            _check_device(source, mode, target, target_mode, options)
            parts.tidy_beside(target)
            jobs.append(Job(source, target, partial(client.download, source, target, device=options.device)))
    return jobs, made


def _streamed(client: Client, source: str, target: str, options: argparse.Namespace) -> Job:
    """Return the copy of stdin into the guest, or of a guest's file to stdout."""
    device = options.device
    if source == _STREAM:
        mode = _guest_mode(client, target[1:])
        if _is_directory(mode):
            raise UsageError(f"{target} is a directory: expected the path of a file for what comes on stdin")
        _check_kind(target, mode, device)
        _check_device("stdin", None, target, mode, options)
        return Job(
            "stdin",
            target[1:],
            partial(client.upload, sys.stdin.buffer, target[1:], device=device, insecure=options.insecure),
        )
    mode = _guest_mode(client, source[1:])
    if _is_directory(mode):
        raise UsageError(f"{source} is a directory: expected a file to write to stdout")
    _check_kind(source, mode, device)
    _check_device(source, mode, "stdout", None, options)
    return Job(source[1:], "stdout", partial(client.download, source[1:], sys.stdout.buffer, device=device))


def _copy(options: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Carry out each copy, with a bar; say each note once, of however many files; print all outcomes with --json."""
    done = []
    noted: set[str] = set()
    for job in jobs:
        bar = Bar(job.source)
        try:
            outcome = job.copy(
                progress=bar, resume=options.resume, verify=not options.no_verify, keep_setuid=options.keep_setuid
            )
        finally:
            bar.end()
        for text in outcome.notes:
            if text not in noted:
                output.note(text)
        noted.update(outcome.notes)
        done.append(
            {
                "source": quoting.shown(job.source),
                "target": quoting.shown(job.target),
                "size": outcome.size,
                "resumed": outcome.resumed,
                "verified": outcome.verified,
                "atomic": outcome.atomic,
                "seconds": outcome.seconds,
            }
        )
    if options.json:
        output.json(done)


def _check_stream(options: argparse.Namespace) -> None:
    if len(options.paths) > 2:
        raise UsageError(f"{_STREAM} is a single file: expected one source and one target")
    if options.resume:
        raise UsageError(f"--resume does not work with {_STREAM}: nothing of a stream is kept to continue from")
    if options.json and options.paths[-1] == _STREAM:
        raise UsageError(f"--json does not work with {_STREAM} as target: both write to stdout")


def _check_target(sources: Sequence[str], target: str, into: bool) -> None:
    if not into and (len(sources) > 1 or target.endswith("/")):
        raise UsageError(
            f"target {target} is not a directory: expected one, as there are several sources or it ends in /"
        )


def _check_recursive(source: str, options: argparse.Namespace) -> None:
    if not options.recursive:
        raise UsageError(f"{source} is a directory: use -r to copy it with everything in it")


def _check_kind(path: str, mode: int | None, device: bool) -> None:
    """Refuse what is neither a file nor a directory, where that is known; with --device, a block device is one."""
    if mode is None or stat.S_ISDIR(mode):
        return
    if why := kinds.refusal(path, mode, device=device):
        hint = "use --device to read or write one" if stat.S_ISBLK(mode) else f"use {_STREAM} for stdin or stdout"
        raise UsageError(f"{why}; {hint}")


def _check_device(
    source: str, source_mode: int | None, target: str, target_mode: int | None, options: argparse.Namespace
) -> None:
    """Refuse --device without a block device: a name that was mistyped must not become a file beside the device."""
    if options.device:
        if options.resume:
            raise UsageError("--resume does not work with --device: nothing of a device's copy is kept apart")
        if not any(mode is not None and stat.S_ISBLK(mode) for mode in (source_mode, target_mode)):
            raise UsageError(f"--device: neither {source} nor {target} is known to be a block device: expected one")


def _is_directory(mode: int | None) -> bool:
    return mode is not None and stat.S_ISDIR(mode)


def _last(path: str) -> str:
    """Return its name in a directory; "" for what has none, whose content goes into the directory itself."""
    name = posixpath.basename(path.rstrip("/"))
    return "" if name in (".", "..") else name


def _guest_mode(client: Client, path: str) -> int | None:
    """Return st_mode of stat(2), by links; None if there is nothing, or the guest cannot tell."""
    status = client.carry_out(guest_tools.look(path))
    return None if status is None else status.mode


def _local_mode(path: str) -> int | None:
    """Return st_mode of stat(2), by links; None if there is nothing that can be looked at."""
    try:
        return os.stat(path).st_mode
    except OSError:
        return None
