"""cat and ls: print files and directories of the guest."""

from __future__ import annotations

import argparse
import sys

from qga.client.client import Client
from qga.client.errors import ClientError, CommandFailed
from qga.tool import output

_CHUNK = 1 << 20  # bytes of one read


def cat(client: Client, options: argparse.Namespace) -> None:
    """Print files, one after the other."""
    target = output.content()
    for path in options.paths:
        with client.open(path.removeprefix(":")) as file:
            while data := file.read(_CHUNK):
                target.write(data)
    target.flush()


def ls(client: Client, options: argparse.Namespace) -> None:
    """List a directory with the guest's own ls program."""
    done = client.run(["ls", *(["-l"] if options.long else []), "--", options.path.removeprefix(":")])
    sys.stdout.write(output.clean(done.stdout.decode(errors="replace"), "\n"))
    if done.truncated:
        raise ClientError(f"{options.path}: the list is too long, and its end is missing")
    if done.returncode:
        raise CommandFailed("ls", done.stderr.decode(errors="replace").strip().removeprefix("ls: "))
