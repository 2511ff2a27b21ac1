"""The program qemu-ga: reads its command line, carries out the action, and returns the exit status.

The rule it keeps: a start that fails says why in one line on stderr, ``qemu-ga: …``, and exits with 1. A
traceback appears only in the log, with --debug. With -d the starting process waits for the daemon and prints the
line.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from qga import __version__
from qga.agent import config
from qga.agent.config import cmdline
from qga.agent.config.options import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qga.agent.config.reload import Settings, Source
    from qga.agent.service.pidfile import PidFile
    from qga.agent.state.freeze import FreezeState
    from qga.protocol.schema import Schema

OK, FAILED, NO_REQUEST, DENIED = 0, 1, 2, 3
PASSED_SOCKET = 3  # the first descriptor under socket activation, sd_listen_fds(3)

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out what the command line asks for and return the exit status; ``argv`` excludes the program's name."""
    try:
        loaded = config.load(sys.argv[1:] if argv is None else argv, os.environ)
        return _ACTIONS[loaded.action](loaded)
    except (BrokenPipeError, KeyboardInterrupt):
        return FAILED  # the reader closed the pipe, or the user pressed Ctrl-C
    except Exception as error:
        sys.stderr.write(f"{cmdline.PROGRAM}: {_words(error)}\n")  # at once: a daemon says the same as its parent
        return FAILED


def _run(loaded: config.Loaded) -> int:
    """Check the configuration while the caller waits, go to the background if configured, and serve."""
    from qga.agent.config import reload
    from qga.agent.processes import keep_descriptors
    from qga.agent.service.daemonize import daemonize, occupy_standard_streams
    from qga.agent.state.freeze import FreezeState
    from qga.protocol import schema

    occupy_standard_streams()
    keep_descriptors()
    commands = schema.load()
    source = reload.Source(loaded.given, os.environ, commands, loaded.config)
    wanted = config.absolute_paths(loaded.config) if loaded.config.daemon else loaded.config
    found = reload.complete(wanted, commands, loaded.warnings)
    if not wanted.daemon:
        freeze = FreezeState(wanted.statedir, wanted.fsfreeze_timeout)
        return _serve(found, source, commands, freeze, lambda: None)

    from qga.agent.service.pidfile import PidFile

    freeze, pidfile = FreezeState(wanted.statedir, wanted.fsfreeze_timeout), PidFile(wanted.pidfile)
    activated = wanted.path is None
    # No pid file is written on a frozen filesystem: the write would hang, and so would the agent that has to thaw it.
    link = daemonize(cmdline.PROGRAM, None if freeze.frozen else pidfile, [PASSED_SOCKET] if activated else [])
    if freeze.frozen:
        freeze.subscribe(lambda frozen: None if frozen else _acquire(pidfile))
    if activated:
        os.environ["LISTEN_PID"] = str(os.getpid())  # systemd set it to the process that has just exited
    try:
        try:
            return _serve(found, source, commands, freeze, link.ready)
        finally:
            pidfile.release()
    except Exception as error:
        link.failed(_words(error))  # last: whoever reads it may start another agent at once
        raise


def _acquire(pidfile: PidFile) -> None:
    """Create the pid file after a thaw, now that it can be written.

    If that fails, the agent continues: the host needs it.
    """
    from qga.agent.service.pidfile import PidFileError

    try:
        if not pidfile.held:
            pidfile.acquire()
    except PidFileError as error:
        logger.error("%s", error)


def _serve(found: Settings, source: Source, commands: Schema, freeze: FreezeState, ready: Callable[[], None]) -> int:
    from qga.agent.app import App
    from qga.agent.audit import sinks
    from qga.agent.loop import Loop
    from qga.agent.service import log
    from qga.agent.service.syslog import DEV_LOG

    settings = found.config
    recorded = sinks.destination(settings.audit_log, os.environ) != "off"
    lines = log.setup(
        logfile=settings.logfile,
        verbose=settings.verbose,
        debug=settings.debug,
        paused=freeze.frozen,
        syslog=None if recorded else DEV_LOG,
    )
    freeze.subscribe(lambda frozen: lines.pause() if frozen else lines.resume())
    for warning in (*freeze.found, *found.warnings):
        logger.warning("%s", warning)
    # On a terminal, SIGHUP means that the terminal was closed and its user has left, so the agent ends.
    reread = None if os.isatty(0) else source.read
    try:
        with Loop() as loop:
            app = App(loop, settings, commands, freeze, rules=found.rules, reread=reread, called=lines.call)
            return app.run(ready)
    except Exception as error:
        if settings.logfile is not None:
            logger.critical("%s", _words(error))
        logger.debug("it was raised here:", exc_info=True)
        raise


def _dump(loaded: config.Loaded) -> int:
    return _show(config.dump(loaded.config))


def _print_unit(loaded: config.Loaded) -> int:
    from qga.agent.service import unit

    return _show(unit.drop_in(loaded.config))


def _self_test(loaded: config.Loaded) -> int:
    from qga.agent import selftest

    report = selftest.run(loaded.given, os.environ)
    _show(selftest.as_json(report) if loaded.given.json else selftest.as_text(report))
    return selftest.status(report)


def _explain(loaded: config.Loaded) -> int:
    from qga.agent.selftest import explain
    from qga.protocol.errors import QgaError

    try:
        allowed, text = explain.explain(loaded, os.environ)
    except QgaError as error:
        sys.stderr.write(f"{cmdline.PROGRAM}: {error}\n")
        return NO_REQUEST
    _show(text)
    return OK if allowed else DENIED


def _check(loaded: config.Loaded) -> int:
    from qga.agent import selftest

    report = selftest.run(loaded.given, os.environ, selftest.OF_CONFIGURATION)
    _show(selftest.as_lines(report))
    return OK if selftest.is_sound(report) else FAILED


def _help(loaded: config.Loaded) -> int:
    return _show(cmdline.usage())


def _version(loaded: config.Loaded) -> int:
    from qga.protocol.schema import INTERFACE_VERSION

    return _show(f"QEMU Guest Agent {INTERFACE_VERSION}\nqga {__version__}\n")


def _list_commands(loaded: config.Loaded) -> int:
    from qga.protocol import schema

    return _show("".join(f"{name}\n" for name in schema.load().commands))


_ACTIONS: dict[Action, Callable[[config.Loaded], int]] = {
    Action.RUN: _run,
    Action.DUMP: _dump,
    Action.EXPLAIN: _explain,
    Action.CHECK: _check,
    Action.HELP: _help,
    Action.VERSION: _version,
    Action.LIST_COMMANDS: _list_commands,
    Action.PRINT_UNIT: _print_unit,
    Action.SELF_TEST: _self_test,
}


def _show(text: str) -> int:
    """Print ``text``, which may hold file names that are not UTF-8."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    return OK


def _words(error: Exception) -> str:
    """Return one line about an error. For an error from outside qga it includes the type: the text may say little."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: '{error.filename}'"
    return text if text and type(error).__module__.startswith("qga.") else f"{type(error).__name__}: {text}"
