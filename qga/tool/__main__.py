"""The entry of the tool: ``qga``, and ``python -m qga.tool``.

Until all is imported, ctrl-C has its default action, which ends the process: the exception that Python makes of it by
default would be a traceback, and inside the import of an extension module a crash. There is nothing to clean up then.
"""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130  # what a shell makes of an end by SIGINT


def main() -> int:
    """Run the tool, and return its exit status. Where SIGINT is ignored, as behind nohup(1), it stays so."""
    try:
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        _open_standard_streams()
    except KeyboardInterrupt:
        return _INTERRUPTED
    from qga.tool.cli import main as run

    status = run()
    try:
        sys.stdout.flush()
    except OSError:  # which was reported; Python would try again at its end, and make 120 of the status
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _open_standard_streams() -> None:
    """Make reading or writing one that was closed an error, as with GNU's tools; stderr's output is lost."""
    for name, flags, mode in (
        ("stdin", os.O_WRONLY, "r"),
        ("stdout", os.O_RDONLY, "w"),
        ("stderr", os.O_WRONLY, "w"),
    ):
        if getattr(sys, name) is None:  # then its number is the lowest that is free, which open(2) takes
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, closefd=False))


if __name__ == "__main__":
    sys.exit(main())
