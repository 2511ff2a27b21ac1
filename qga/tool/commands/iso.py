"""make-iso: a disk from which cloud-init installs the agent at a guest's first boot. It needs no agent.

The disk is a seed of cloud-init's NoCloud: the label, and the files ``meta-data``, ``user-data`` and ``vendor-data``
(cloudinit.readthedocs.io, "NoCloud"). The installation is vendor data, so that user data stay the user's own.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from pathlib import Path

from qga.tool import output
from qga.tool.commands.install import package_file
from qga.tool.exits import MissingExtraError, UsageError
from qga.tool.remote import guest

LABEL = "cidata"  # by which cloud-init knows it
NO_USER_DATA = b"#cloud-config\n{}\n"


def make_iso(options: argparse.Namespace) -> None:
    """Write the disk. Raises UsageError for what is no package, and FileExistsError if the disk is there."""
    paths = [package_file(name) for name in options.packages]
    packages = {path.name: path.read_bytes() for path in paths}
    if len(packages) < len(paths):
        raise UsageError("two packages have the same name")
    given = NO_USER_DATA if options.user_data is None else Path(options.user_data).read_bytes()
    script = b"#!/bin/sh\n" + guest.text("packages.sh") + guest.text("seed.sh")
    files = {"user-data": given, "vendor-data": script, **packages}
    files["meta-data"] = f"instance-id: qga-{_digest(files)}\n".encode()
    image = _image(files)
    with open(options.output, "xb") as disk:
        disk.write(image)
    output.line(f"{options.output}: attach it to a guest that has cloud-init, before its first boot")


def _digest(files: dict[str, bytes]) -> str:
    """Return a name of the content: another disk is another instance to cloud-init."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _image(files: dict[str, bytes]) -> bytes:
    """Return an image of ISO 9660 with these files at its root, by their own names (Rock Ridge, Joliet)."""
    try:
        from pycdlib import PyCdlib
    except ImportError as error:
        raise MissingExtraError("pycdlib is not installed: run pip install qga[host]") from error
    disk, image = PyCdlib(), io.BytesIO()
    disk.new(vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for number, (name, content) in enumerate(files.items()):
        plain, mode = f"/FILE{number}.;1", 0o100444
        disk.add_fp(io.BytesIO(content), len(content), plain, name, joliet_path=f"/{name}", file_mode=mode)
    disk.write_fp(image)
    disk.close()
    return image.getvalue()
