"""The entry of the tool: ``qga``, and ``python -m qga.client``.

Until all is imported, ctrl-C has its default action, which ends the process: the exception that Python makes of it by
default would be a traceback, and inside the import of an extension module a crash. There is nothing to clean up then.
"""

from __future__ import annotations

import sys

_INTERRUPTED = 130  # what a shell makes of an end by SIGINT


def main() -> int:
    """The tool's exit status. Where SIGINT is ignored, as behind nohup(1), it stays so."""
    try:
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        return _INTERRUPTED
    from qga.client.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
