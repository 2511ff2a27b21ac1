"""Trimming: discards the blocks that a mounted filesystem does not use. Source: fstrim(8), FITRIM of linux/fs.h."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from qga.agent.linux.host import Host
from qga.agent.linux.mounts import GoneError, Mount, opened

FITRIM = 0xC0185879  # _IOWR('X', 121, struct fstrim_range)
_RANGE = struct.Struct("=QQq")  # start, length and minimum, in bytes; a host may give the last with a sign, as QEMU
_WHOLE = 2**64 - 1

_UNABLE = (errno.ENOTTY, errno.EOPNOTSUPP)  # the filesystem, or the disk


class Trimmed(NamedTuple):
    """The outcome: bytes that were trimmed and the smallest extent that was; or in ``error`` why nothing was."""

    trimmed: int | None = None
    minimum: int | None = None
    error: str | None = None


def trim(host: Host, mount: Mount, minimum: int) -> Trimmed | None:
    """Trim every free extent of at least ``minimum`` bytes; the kernel may take larger ones only. Never raises.

    None for one that has been unmounted since the mounts were listed.
    """
    wanted = bytearray(_RANGE.pack(0, _WHOLE, minimum))
    try:
        with opened(host, mount) as descriptor:
            try:
                host.ioctl(descriptor, FITRIM, wanted)
            except OSError as error:
                unable = error.errno in _UNABLE
                return Trimmed(error="trim not supported" if unable else f"failed to trim: {error.strerror}")
    except GoneError as error:
        return Trimmed(error=f"failed to open: {error.strerror}") if mount.hidden else None
    except OSError as error:
        return Trimmed(error=f"failed to open: {error.strerror}")
    _, length, least = _RANGE.unpack(wanted)
    return Trimmed(length, least)
