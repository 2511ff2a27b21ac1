"""The tool ``qga``: ``main``. Every failure is one sentence on stderr and an exit status of ``tool.exits``."""

from __future__ import annotations

import argparse
import os
import signal
import sys

import orjson

from qga.client.errors import ClientError
from qga.tool import exits, output, signals, subcommands

_OWN_STATUS = ("exec", "freeze", "shell")  # theirs is the status of the program that they run


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    options: argparse.Namespace | None = None
    try:
        options = _parsed(words)
        status = _carry_out(options)
        sys.stdout.flush()
        return status
    except exits.UsageError as error:
        return _failed(options, exits.USAGE, error)
    except exits.MissingExtraError as error:
        return _failed(options, exits.MISSING, error)
    except BrokenPipeError:  # the reader of stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ClientError, OSError) as error:
        return _failed(options, exits.status(error), _sentence(error))
    except (UnicodeError, orjson.JSONEncodeError):
        return _failed(options, exits.USAGE, "a name or an argument is no UTF-8, and JSON carries nothing else")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except exits.Terminated:
        return 128 + signal.SIGTERM
    except Exception as error:
        return _failed(options, exits.FAULT, f"this is a fault of qga, please report it: {_place(error)}")


def _carry_out(options: argparse.Namespace) -> int:
    run = subcommands.function(options)
    if options.subcommand in ("schema", "completion"):
        return run(None, options) or 0
    # Also the extension modules that are imported late elsewhere: not while ctrl-C is an exception.
    from qga.client import files  # noqa: F401
    from qga.client.client import Client

    with signals.raised():
        waiting = _Waiting() if options.wait and sys.stderr.isatty() else None
        try:
            client = Client.connect(options.connect, timeout=options.timeout, wait=options.wait, progress=waiting)
        finally:
            if waiting:
                waiting.end()
        with client:
            return run(client, options) or 0


class _Waiting:
    """One line on a terminal while no agent answers."""

    def __call__(self, passed: float, error: Exception) -> None:
        sys.stderr.write(f"\rqga: waiting for the agent, {passed:.0f} s: {output.clean(str(error))[:100]}\033[K")
        sys.stderr.flush()

    def end(self) -> None:
        sys.stderr.write("\r\033[K")


def _parsed(words: list[str]) -> argparse.Namespace:
    first = _subcommand(words)
    if first is not None and not subcommands.knows(first):
        raise exits.UsageError(f"there is no subcommand {first!r}{subcommands.like(first)}: qga -h lists them")
    options = subcommands.parser(first).parse_args(words)
    if getattr(options, "words", None) and options.words[0] == "--":
        del options.words[0]
    if options.subcommand in ("exec", "freeze") and not options.words:
        raise exits.UsageError(f"expected a command: qga {options.subcommand} -- CMD…")
    return options


def _subcommand(words: list[str]) -> str | None:
    """The first word that is one of ours, so that only its parser is made."""
    for word, before in zip(words, ["", *words], strict=False):
        if before not in ("-c", "--connect", "--wait", "--timeout") and not word.startswith("-"):
            return word
    return None


def _failed(options: argparse.Namespace | None, status: int, text: object) -> int:
    output.note(text)
    return exits.OURS if options is not None and options.subcommand in _OWN_STATUS else status


def _sentence(error: Exception) -> str:
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}{notes}"
    return f"{error}{notes}"


def _place(error: Exception) -> str:
    """What was raised, and where: a line for a report."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f" in {at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else ""
    return f"{type(error).__name__}{where}: {str(error)[:200]}"
