"""What is there of a copy before it is whole: a file beside its target on this machine, which nobody else reads.

A part that may be resumed is named after its source, size and time of change: another source begins another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat


def key(*identity: object) -> str:
    """Goes into the name of a part; anew each time without an identity."""
    if not identity:
        return secrets.token_hex(6)
    return hashlib.sha256(repr(identity).encode(errors="surrogateescape")).hexdigest()[:12]


def beside(target: str, name: str) -> str:
    directory, base = os.path.split(target)
    short = os.fsdecode(os.fsencode(base)[:200])
    return os.path.join(directory, f".{short}.{name}.qga-part")


def opened(path: str) -> int:
    """A descriptor for reading and writing. What is there and is not ours alone is removed. Raises OSError."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
        if _is_ours(os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
    except FileNotFoundError:
        pass
    except OSError:  # ELOOP, EACCES: whatever it is, it is no part of ours
        os.unlink(path)
    else:
        os.unlink(path)
    return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _is_ours(found: os.stat_result) -> bool:
    private = stat.S_IMODE(found.st_mode) == 0o600
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1 and private
