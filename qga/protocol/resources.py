"""The files that belong to this package, which may lie in a zip archive: ``python3 qemu-ga.pyz``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Traversable

PACKAGE = os.path.dirname(os.path.dirname(__file__))


def read(path: str) -> bytes:
    """Return the content of a file, of this package or of the system. Raises OSError."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except NotADirectoryError:
        inside = _inside_archive(path)
        if inside is None:
            raise
        return inside.read_bytes()


def list_directory(path: str) -> list[str]:
    """Return the names in a directory, of this package or of the system. Raises OSError."""
    try:
        return os.listdir(path)
    except NotADirectoryError:
        inside = _inside_archive(path)
        if inside is None:
            raise
        return [entry.name for entry in inside.iterdir()]


def _inside_archive(path: str) -> Traversable | None:
    """Return what an archive has at the path of a file of this package, or None for another path."""
    if not path.startswith(f"{PACKAGE}/"):
        return None
    from importlib.resources import files  # takes some milliseconds, and only an archive needs it

    return files("qga").joinpath(path[len(PACKAGE) + 1 :])
