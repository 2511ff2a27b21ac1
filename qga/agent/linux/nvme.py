"""The health of an NVMe disk: NVM Express Base Specification, Get Log Page; linux/nvme_ioctl.h."""

from __future__ import annotations

import os
import struct

from qga.agent.linux.host import Host

ADMIN_CMD = 0xC0484E41  # _IOWR('N', 0x41, struct nvme_passthru_cmd)
_COMMAND = struct.Struct(
    "=BBHIIIQQII6III"
)  # opcode, flags, -, nsid, cdw2, cdw3, metadata, data, their lengths, cdw10-15, …
_GET_LOG_PAGE, _HEALTH, _ALL_NAMESPACES = 0x02, 0x02, 0xFFFFFFFF

LOG_SIZE = 512  # bytes
_NUMBERS = struct.Struct("<BHBBB")
_COUNTERS = struct.Struct("<20Q")
_COUNTERS_AT = 32

_NUMBER_NAMES = (
    "critical-warning",
    "temperature",
    "available-spare",
    "available-spare-threshold",
    "percentage-used",
)
_COUNTER_NAMES = (
    "data-units-read",
    "data-units-written",
    "host-read-commands",
    "host-write-commands",
    "controller-busy-time",
    "power-cycles",
    "power-on-hours",
    "unsafe-shutdowns",
    "media-errors",
    "number-of-error-log-entries",
)


def parse_health(log: bytes) -> dict[str, int]:
    """Return the health by QEMU's names: temperature in kelvins, counters as lower (-lo) and higher (-hi) 64 bits."""
    halves = [f"{name}-{half}" for name in _COUNTER_NAMES for half in ("lo", "hi")]
    return {
        **dict(zip(_NUMBER_NAMES, _NUMBERS.unpack_from(log))),
        **dict(zip(halves, _COUNTERS.unpack_from(log, _COUNTERS_AT))),
    }


def read_health(host: Host, devnode: str) -> dict[str, int]:
    """Return the health that a disk reports to the admin command Get Log Page.

    Raises OSError, also where the disk refuses the command.
    """
    import ctypes

    log = ctypes.create_string_buffer(LOG_SIZE)
    words = LOG_SIZE // 4 - 1  # counted from 0
    command = bytearray(
        _COMMAND.pack(
            _GET_LOG_PAGE,
            0,
            0,
            _ALL_NAMESPACES,
            0,
            0,
            0,
            ctypes.addressof(log),
            0,
            LOG_SIZE,
            words << 16 | _HEALTH,
            *[0] * 7,
        )
    )
    descriptor = os.open(host.path(devnode), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = host.ioctl(descriptor, ADMIN_CMD, command)
    finally:
        os.close(descriptor)
    if status:
        raise OSError(status, f"the disk refuses: status {status:#x}")
    return parse_health(log.raw)
