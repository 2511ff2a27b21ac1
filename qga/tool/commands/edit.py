"""edit: a file of the guest in an editor of this machine."""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile

from qga.client.client import Client
from qga.client.errors import ClientError
from qga.client.operations import copy, guest_tools
from qga.tool import output
from qga.tool.exits import UsageError


def edit(client: Client, options: argparse.Namespace) -> None:
    """Have the user edit a copy, and write it back if it was changed here and not there; otherwise keep it here."""
    path = options.path.removeprefix(":")
    if not options.insecure and client.carry_out(guest_tools.completed(["sh", "-c", ":"])) is None:
        raise ClientError(f"{path}: {copy.INSECURE}", command="guest-exec")
    with tempfile.TemporaryDirectory(prefix="qga-edit-") as scratch:
        here = os.path.join(scratch, os.path.basename(path) or "file")
        client.download(path, here, preserve=False)
        before = _digest(here)
        try:
            _run_editor(here)
            if _digest(here) == before:
                return output.note(f"{path} was not changed, so nothing was written")
            _write_back(client, here, path, before, options.insecure)
        except BaseException:
            if os.path.exists(here) and _digest(here) != before:
                output.note(f"your edited copy is kept in {_kept(here)}")
            raise
    return None


def _run_editor(path: str) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        words = shlex.split(editor)
        status = subprocess.run([*words, path]).returncode
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(
            f"the editor {editor!r} cannot be run ({error}): set $VISUAL or $EDITOR to one that can"
        ) from None
    if status:
        raise ClientError(f"{editor} exited with status {status}: the file in the guest was not changed")


def _write_back(client: Client, here: str, path: str, before: bytes, insecure: bool) -> None:
    with tempfile.TemporaryFile(buffering=0) as now:
        client.download(path, now, preserve=False)
        now.seek(0)
        if hashlib.file_digest(now, "blake2b").digest() != before:
            raise ClientError(f"{path} was changed in the guest meanwhile, and was not overwritten")
    for text in client.upload(here, path, preserve=False, insecure=insecure).notes:
        output.note(text)


def _digest(path: str) -> bytes:
    """Return the digest of a file as large as the guest likes. Raises OSError where an editor has removed it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _kept(path: str) -> str:
    directory = tempfile.mkdtemp(prefix="qga-kept-")
    return str(shutil.move(path, directory))
