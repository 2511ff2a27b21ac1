"""What a forked child does first: it lets go of all that is the agent's."""

from __future__ import annotations

import os
import signal

RESET_SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


def leave_the_agent() -> None:
    """Signals of this process must neither write to the agent's wake-up pipe nor be ignored by the program."""
    signal.set_wakeup_fd(-1)
    for number in RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def close_all_but(descriptor: int, first: int = 0) -> None:
    """Neither child holds anything of the agent's open: not its channel, not its sockets."""
    os.closerange(first, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
