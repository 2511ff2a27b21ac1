"""The files of a freeze: what it leaves in the state directory for the next agent.

``MARKER``: filesystems are frozen; QEMU's agent has the same file, and leaves it empty. ``HOOKS``: no filesystem is
frozen, but hooks were run with ``freeze`` and wait for their ``thaw``. ``NOTE``: a freeze ended before a host ended
it, and no host has received the error yet.

The rule it keeps: a file that cannot be understood counts as frozen, or as ended early. Thawing what is not frozen
does no harm, and neither does one error too many; a missing thaw loses the guest, and a missing error the backup.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from qga.agent.state import statefile
from qga.agent.state.statefile import DamagedError

MARKER = "qga.state.isfrozen"
HOOKS = "qga.state.hooks"
NOTE = "qga.state.thawed"

MAX_TIMEOUT = 10**15  # seconds; fsfreeze-timeout has at most 15 digits

_BOOT_ID = "/proc/sys/kernel/random/boot_id"  # random(4)


class EmptyError(DamagedError):
    """The file is empty, which is how QEMU's agent leaves it."""


class Held(NamedTuple):
    """A freeze, as recorded by its agent.

    ``boot`` identifies the boot in which it began. ``deadline`` is when it ends by itself, in seconds of
    CLOCK_MONOTONIC, or None; ``timeout`` is the fsfreeze-timeout in seconds, or None if it is not known.
    """

    boot: str
    deadline: float | None
    timeout: float | None = None


class Early(NamedTuple):
    """A freeze that ended before a host ended it: ``at`` (ISO 8601, UTC), and ``why``."""

    at: str
    why: str

    def __str__(self) -> str:
        return f"the guest was thawed early, at {self.at}: {self.why}; what was copied since then is not consistent"


def read_held(path: str) -> Held | None:
    """Return the freeze that MARKER or HOOKS records, or None if the file does not exist. Raises DamagedError."""
    content = statefile.read(path)
    if content is None:
        return None
    if not content:
        raise EmptyError("is empty, as QEMU's agent leaves it")
    left = statefile.parse_json(content)
    if not isinstance(left, dict) or not isinstance(left.get("boot"), str) or "deadline" not in left:
        raise DamagedError("lacks the members boot and deadline")
    held = Held(left["boot"], _seconds(left, "deadline"), _seconds(left, "timeout"))
    if held.deadline is not None and held.boot == boot_id():
        longest = MAX_TIMEOUT if held.timeout is None else held.timeout
        if held.deadline - time.monotonic() > longest:
            raise DamagedError(f"has a deadline that is more than {longest:g} s away")
    return held


def read_early(path: str) -> Early | None:
    """Return what NOTE says, or None if the file does not exist. Raises DamagedError."""
    content = statefile.read(path)
    if content is None:
        return None
    left = statefile.parse_json(content)
    if not isinstance(left, dict) or not all(isinstance(left.get(key), str) for key in Early._fields):
        raise DamagedError("lacks the members at and why")
    return Early(left["at"], left["why"])


def write(path: str, content: Held | Early) -> None:
    """Write one of the three files to the disk atomically. Raises OSError.

    If the disk is full, a damaged file remains, which still says that something is frozen.
    """
    if os.path.isdir(path) and not os.path.islink(path):
        statefile.set_aside(path)
    temporary = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.write(descriptor, json.dumps(content._asdict()).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        os.rename(temporary, path)


def remove(path: str) -> None:
    """Remove one of the three files, if it exists; a damaged one is set aside. Raises OSError."""
    away: Callable[[str], object] = os.unlink
    try:
        (read_early if os.path.basename(path) == NOTE else read_held)(path)
    except EmptyError:
        pass
    except DamagedError:
        away = statefile.set_aside
    with contextlib.suppress(FileNotFoundError):
        away(path)


def utc(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def boot_id() -> str:
    """Return the kernel's id of this boot, or an empty text if it cannot be read."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _seconds(left: dict[str, object], key: str) -> float | None:
    """Return a number of seconds, or None if the member is missing or null. Raises DamagedError."""
    value = left.get(key)
    if value is None:
        return None
    if type(value) not in (int, float):
        raise DamagedError(f"has a {key} that is not a number")
    return float(value)  # type: ignore[arg-type]
