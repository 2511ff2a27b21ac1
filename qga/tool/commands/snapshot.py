"""snapshot: all disks at one moment, of a guest whose filesystems are frozen as briefly as possible."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Sequence

from qga.client.client import Client
from qga.client.errors import ClientError
from qga.tool import output
from qga.tool.commands.qmp import Disk, Monitor, RefusedError
from qga.tool.exits import UsageError
from qga.tool.signals import remembered


def snapshot(client: Client, options: argparse.Namespace) -> int:
    """Have QEMU write to new files from now on; what was written before stays in the old ones, untouched."""
    for option, value in (("--name", options.name), ("--directory", options.directory)):
        if value == "":
            raise UsageError(f"{option}: expected a name, got an empty one")
    with Monitor(options.qmp) as monitor:
        disks = _chosen(monitor.disks(), options.disks)
        name = options.name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        overlays = [_overlay(disk, options.directory, name) for disk in disks]
        for number, overlay in enumerate(overlays):
            if overlay in overlays[:number]:
                raise UsageError(
                    f"two disks would both write to {overlay}: snapshot them one after the other, with another --name"
                )
            if os.path.lexists(overlay):
                raise FileExistsError(f"{overlay} already exists: choose another --name")
        taken = False
        with remembered() as received:
            held = client.freeze(timeout=options.limit)
            try:
                with held:
                    if not received:
                        _take(monitor, disks, overlays, options.limit)
                        taken = True
            except ClientError as error:  # of the thaw: the guest may not have been still all the time
                if taken:
                    error.add_note(f"the guest writes to {', '.join(overlays)} from now on all the same")
                raise
        if received:
            return 128 + received[0]
    if options.json:
        made = [
            {"disk": disk.name, "was": disk.file, "overlay": overlay}
            for disk, overlay in zip(disks, overlays, strict=True)
        ]
        output.json({"disks": made, "frozen": held.frozen, "seconds": held.seconds})
        return 0
    rows = [(disk.name, disk.file, overlay) for disk, overlay in zip(disks, overlays, strict=True)]
    output.table(("disk", "old file", "new file"), rows)
    output.note(f"{held.frozen} filesystems were frozen for {held.seconds:.3f} s")
    return 0


def _chosen(disks: Sequence[Disk], wanted: Sequence[str]) -> list[Disk]:
    """Return all of the writable disks, or those that the user named."""
    if not wanted:
        if not disks:
            raise UsageError("the machine has no writable disk")
        return list(disks)
    found = []
    for word in wanted:
        meant = [disk for disk in disks if word in disk.names]
        if not meant:
            known = ", ".join(disk.name for disk in disks) or "none"
            raise UsageError(f"the machine has no writable disk {word}: expected one of {known}")
        found += [disk for disk in meant if disk not in found]
    return found


def _overlay(disk: Disk, directory: str | None, name: str) -> str:
    """Return the path of a disk's new file."""
    if directory is None and not disk.file.startswith("/"):
        raise UsageError(
            f"disk {disk.name} is not in a file but {disk.file}: use --directory to say where the new file goes"
        )
    where = os.path.dirname(disk.file) if directory is None else os.path.abspath(directory)
    if not os.path.isdir(where):
        raise NotADirectoryError(f"{where} is not a directory: expected one for the new files")
    stem = os.path.basename(disk.file).rpartition(".")[0] or os.path.basename(disk.file) or disk.name
    return os.path.join(where, f"{stem}-{name}.qcow2")


def _take(monitor: Monitor, disks: Sequence[Disk], overlays: Sequence[str], limit: float) -> None:
    try:
        monitor.snapshot(disks, overlays, limit)
    except RefusedError:  # it is all or none, but their files may have been made
        for overlay in overlays:
            with contextlib.suppress(OSError):
                os.unlink(overlay)
        raise
