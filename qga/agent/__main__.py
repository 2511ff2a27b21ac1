"""The entry of the agent: ``qemu-ga``, and ``python -m qga``."""

import sys


def main() -> int:
    """The agent's exit status. Until its loop takes signals, ctrl-C ends it without the traceback of an exception."""
    try:
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        return 130  # what a shell makes of an end by SIGINT
    from qga.agent.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
