"""The tool ``qga``: ``main``. Every failure is one sentence on stderr and an exit status of ``tool.exits``."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from qga.tool import exits, output, parser, signals

_WITHOUT_AGENT = ("schema", "completion", "make-iso")
_OWN_STATUS = ("exec", "freeze", "shell")  # theirs is the status of the program that they run


def main(argv: list[str] | None = None) -> int:
    """Carry out one command line, and return the exit status."""
    words = sys.argv[1:] if argv is None else argv
    options: argparse.Namespace | None = None
    try:
        options = parser.parse(words)
        status = _run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, exits.Terminated) as error:
        if _is_debugged(options, words):
            output.traceback(error)
        return 128 + (signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
    except Exception as error:
        if _is_debugged(options, words):
            output.traceback(error)
        output.note(exits.sentence(error))
        if options is not None and options.subcommand in _OWN_STATUS:
            return exits.TOOL_FAILED
        return exits.status(error)


def _run(options: argparse.Namespace) -> int:
    run = parser.function(options)
    if options.subcommand in _WITHOUT_AGENT:
        return run(options) or 0
    # Also the extension modules that are imported late elsewhere: not while ctrl-C is an exception.
    from qga.client import files  # noqa: F401
    from qga.client.client import Client

    with signals.raised():
        progress = _Progress() if options.wait and sys.stderr.isatty() else None
        try:
            client = Client.connect(options.connect, timeout=options.timeout, wait=options.wait, progress=progress)
        finally:
            if progress:
                progress.end()
        with client:
            return run(client, options) or 0


class _Progress:
    """One line on a terminal while no agent answers."""

    def __call__(self, passed: float, error: Exception) -> None:
        sys.stderr.write(f"\rqga: waiting for the agent, {passed:.0f} s: {output.clean(str(error))[:100]}\033[K")
        sys.stderr.flush()

    def end(self) -> None:
        sys.stderr.write("\r\033[K")


def _is_debugged(options: argparse.Namespace | None, words: list[str]) -> bool:
    """Return whether tracebacks are wanted; of a command line that is not understood, as far as it tells."""
    return "--debug" in words if options is None else bool(options.debug)
