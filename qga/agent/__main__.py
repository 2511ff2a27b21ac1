"""The entry of the agent: ``qemu-ga``, and ``python -m qga``."""

import sys


def main() -> int:
    """Run the agent and return its exit status.

    Until the agent's loop handles signals, Ctrl-C ends the process by SIGINT's default action, without a traceback.
    """
    try:
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        return 130  # what a shell reports for a process that SIGINT ended
    from qga.agent.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
