"""What ``qga shell`` and ``qga exec`` send into the guest, as text.

``terminal`` is the guest's end of a terminal, for python3 and for sh with script. Both are given DIRECTORY LINGER
SEGMENT and what to run, and share the directory with the tool:

``in``      a FIFO of lines: ``d\\141\\012`` bytes typed, in octal; ``s ROWS COLUMNS``; ``a N`` the tool has read all
            of ``out.N``; ``h`` it is still there; ``q`` end the terminal. LINGER seconds without a line are a ``q``.
``taken``   how many of the bytes typed have reached the program, a line in decimal for each KiB or so: what is under
            way stays below the FIFO's room, for a FIFO that is full loses what QEMU's agent writes to it. It only
            grows, since that agent may not look again at what it has read.
``out.N``   what the terminal shows, SEGMENT bytes each but for the last; no more than two are there at a time.

The end's exit status is the program's, 128 + N for signal N. It leaves the directory to the tool, and removes it
itself if the tool does not within LINGER seconds.

``program`` runs one without a terminal, for a sh. It is given DIRECTORY LINGER FED and the program:

``out``, ``err``   what it writes, which the tool follows.
``in``      a FIFO of lines: ``N`` the next piece of stdin is in the file ``in.N``, to be handed on and removed; ``e``
            stdin is at its end; ``h`` the tool is still there. After LINGER seconds without a line, which the guest
            must have run and not slept, the program is sent SIGTERM and two seconds later SIGKILL, with its process
            group, and the directory removed. So it is if the tool has removed the directory, and the program lives.
``stdin``   a FIFO: what the program reads, if FED is yes.
``beat``    there was a line since the last look.
"""

from __future__ import annotations

import re
from importlib import resources

_COMMENTS = re.compile(rb"^ *#.*\n", re.MULTILINE)


def text(name: str) -> bytes:
    """Return what is sent of one of this package's files: a .sh file without its comments, terminal.py as it is."""
    data = resources.files(__name__).joinpath(name).read_bytes()
    return _COMMENTS.sub(b"", data) if name.endswith(".sh") else data


def command(name: str, *arguments: str) -> list[str]:
    """Return the argv that runs a .sh file of this package in the guest, with these arguments as $1 and so on."""
    return ["sh", "-c", text(name).decode(), "sh", *arguments]
