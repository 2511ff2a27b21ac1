"""What ``qga shell`` and ``qga exec`` run in the guest, for its sh or python3, and how the tool talks to it.

``terminal.py`` and ``terminal.sh`` (by script(1)) are the guest's end of a terminal. Both are given DIRECTORY LINGER
SEGMENT and what to run, and share the directory with the tool:

``in``      a FIFO of lines: ``d\\141\\012`` bytes typed, in octal; ``s ROWS COLUMNS``; ``a N`` the tool has read all
            of ``out.N``; ``h`` it is still there; ``q`` end the terminal. LINGER seconds without a line are a ``q``.
``taken``   how many of the bytes typed have reached the program, a line in decimal for each KiB or so: what is under
            way stays below the FIFO's room, for a FIFO that is full loses what QEMU's agent writes to it. It only
            grows, since that agent may not look again at what it has read.
``out.N``   what the terminal shows, SEGMENT bytes each but for the last; no more than two are there at a time.

Their exit status is the program's, 128 + N for signal N. They leave the directory to the tool, and remove it
themselves if the tool does not within LINGER seconds. ``terminal_prepare.sh`` makes the directory, script(1) runs
``terminal_login.sh``, and ``terminal_end.sh`` has the terminal end.

``program.sh`` runs a program without a terminal. It is given DIRECTORY LINGER STDIN and the program:

``out``, ``err``   what it writes, which the tool follows.
``in``      a FIFO of lines: ``N`` the next piece of stdin is in the file ``in.N``, to be handed on and removed; ``e``
            stdin is at its end; ``h`` the tool is still there. After LINGER seconds without a line, which the guest
            must have run and not slept, the program is sent SIGTERM and two seconds later SIGKILL, with its process
            group, and the directory removed. So it is if the tool has removed the directory, and the program lives.
``stdin``   a FIFO: what the program reads, if STDIN is yes.
``beat``    there was a line since this was last checked.

``program_prepare.sh`` makes the directory, ``program_remove.sh`` removes it, and ``program_end.sh`` ends the program.

``install.sh`` installs the package of an agent, and ``seed.sh`` is what cloud-init runs to do so; ``packages.sh`` has
what both need, and stands before them. ``answering.sh`` says which agent it is that has started it.
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
