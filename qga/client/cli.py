"""The tool ``qga``: ``main``. Every failure is one sentence on stderr and an exit status of ``tool.exits``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType

import orjson

from qga.client.errors import ClientError
from qga.client.tool import exits, show, table

_OWN_STATUS = ("exec", "freeze", "shell")  # theirs is the status of the program that they run


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    signal.signal(signal.SIGTERM, _terminate)
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
    except (KeyError, TypeError, AttributeError) as error:  # of a reply, which is the guest's to make
        return _failed(options, exits.OUT_OF_STEP, f"a reply has another shape than the schema's: {error}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except exits.Terminated:
        return 128 + signal.SIGTERM


def _carry_out(options: argparse.Namespace) -> int:
    run = table.function(options)
    if options.subcommand in ("schema", "completion"):
        return run(None, options) or 0
    from qga.client.client import Client

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
        sys.stderr.write(f"\rqga: waiting for the agent, {passed:.0f} s: {show.clean(str(error))[:100]}\033[K")
        sys.stderr.flush()

    def end(self) -> None:
        sys.stderr.write("\r\033[K")


def _parsed(words: list[str]) -> argparse.Namespace:
    first = _subcommand(words)
    if first is not None and not table.knows(first):
        raise exits.UsageError(f"there is no subcommand {first!r}{table.like(first)}: qga -h lists them")
    options = table.parser(first).parse_args(words)
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
    show.note(text)
    return exits.OURS if options is not None and options.subcommand in _OWN_STATUS else status


def _sentence(error: Exception) -> str:
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}{notes}"
    return f"{error}{notes}"


def _terminate(number: int, frame: FrameType | None) -> None:
    raise exits.Terminated


if __name__ == "__main__":
    sys.exit(main())
