"""What ``qga shell`` sends into the guest, as text: the far end of its terminal, for python3 and for sh with script.

Both are given DIRECTORY LINGER SEGMENT and what to run, and share the directory with the tool:

``in``      a FIFO of lines: ``d\\141\\012`` bytes typed, in octal; ``s ROWS COLUMNS``; ``a N`` the tool has read all
            of ``out.N``; ``h`` it is still there; ``q`` end the terminal. LINGER seconds without a line are a ``q``.
``taken``   how many of the bytes typed have reached the program, a line in decimal for each KiB or so: what is under
            way stays below the FIFO's room, for a FIFO that is full loses what QEMU's agent writes to it. It only
            grows, since that agent may not look again at what it has read.
``out.N``   what the terminal shows, SEGMENT bytes each but for the last; no more than two are there at a time.

The end's exit status is the program's, 128 + N for signal N. It leaves the directory to the tool, and removes it
itself if the tool does not within LINGER seconds.
"""

from __future__ import annotations

from importlib import resources


def text(name: str) -> bytes:
    """``terminal.py`` or ``terminal.sh``."""
    return resources.files(__name__).joinpath(name).read_bytes()
