"""isa-serial: a tty, set up by pyserial. It cannot tell whether a host is connected; end of file is a hang-up."""

from __future__ import annotations

import errno
import os
import termios
from collections.abc import Callable

from qga.agent.channel.stream import NewSession, Stream
from qga.agent.loop import Loop

BAUD_RATE = 38400  # as in QEMU; an emulated port accepts any
_CC = 6  # index of the control characters in what tcgetattr(3) returns


def open_serial(loop: Loop, path: str, new_session: NewSession, on_lost: Callable[[str], None]) -> Stream:
    """Open and set up the serial port: raw, no flow control. Raises OSError."""
    try:
        import serial  # imported here: only a guest with a serial channel needs it
    except ImportError:
        raise OSError(errno.ENOPKG, "isa-serial needs pyserial, which is not installed", path) from None
    try:
        port = serial.Serial(path, BAUD_RATE, timeout=0, exclusive=True)
    except serial.SerialException as error:
        raise OSError(error.errno or errno.EIO, os.strerror(error.errno or errno.EIO), path) from error
    descriptor = os.dup(port.fileno())
    port.close()
    os.set_blocking(descriptor, False)
    attributes = termios.tcgetattr(descriptor)
    attributes[_CC][termios.VMIN] = 1  # pyserial leaves 0, with which no data reads like end of file
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    return Stream(loop, descriptor, new_session, on_lost)
