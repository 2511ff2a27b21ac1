"""The composition root: builds the parts of the agent, opens the channel, serves hosts, and stops on a signal."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from qga.agent import review
from qga.agent.audit import NoAudit, sinks
from qga.agent.binding import bind
from qga.agent.channel import Channel, Peers, open_channel
from qga.agent.channel.reopening import ReopeningChannel
from qga.agent.config import Config
from qga.agent.config.options import ConfigError
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher, log_call
from qga.agent.linux.host import Host
from qga.agent.loop import Loop
from qga.agent.policy import Policy
from qga.agent.processes import Children, Workers, begin, run_as, run_helper
from qga.agent.service import systemd
from qga.agent.service.log import installed
from qga.agent.session import Session
from qga.agent.state.freeze import FreezeState
from qga.agent.state.freezer import Freezer
from qga.agent.state.handles import FileTable
from qga.agent.state.programs import Programs
from qga.protocol.schema import Schema

if TYPE_CHECKING:
    from qga.agent.config.reload import Settings
    from qga.agent.policy.rules import Rules

log = logging.getLogger(__name__)

# By default Python searches for reference cycles after every 700 new containers. A request may contain a million
# containers, all in use, and decoding it would examine each of them again and again.
_NEW_CONTAINERS = 10_000  # more than any honest request has; they take some hundred kilobytes

# SIGQUIT ends QEMU's agent at once, as SIGHUP does, and frozen filesystems stay frozen. This agent thaws them first.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class App:
    """The agent with all its parts. ``run`` serves hosts until a signal ends it."""

    def __init__(
        self,
        loop: Loop,
        config: Config,
        schema: Schema,
        freeze: FreezeState,
        host: Host | None = None,
        rules: Rules | None = None,
        reread: Callable[[Config], Settings] | None = None,
        called: Callable[[object], None] = log_call,
    ) -> None:
        """Build the parts of the agent and connect them; ``run`` opens the channel.

        ``reread`` is called on SIGHUP with the current configuration; without it, SIGHUP ends the agent. ``called``
        is called with a line for each command that is carried out. Raises SchemaError if handlers and schema do not
        match, ConfigError for settings that do not work on this machine, and ActivationError for a systemd socket
        that cannot be used.
        """
        self._loop = loop
        self._reread = reread
        self._freeze = freeze
        self._inherited = systemd.inherited_socket(os.environ)
        self._notify = systemd.Notifier(os.environ)
        self._host = host or Host(run=run_helper, which=_which, run_as=run_as, begin=begin)
        policy = Policy(config.allow_rpcs, config.block_rpcs, schema.allowed_while_frozen, rules)
        freeze.subscribe(policy.on_freeze)
        freeze.subscribe(_hold_bytecode)
        self._audit = _audit(loop, config, policy)
        freeze.subscribe(self._audit.on_freeze)
        self._peers = Peers(config.socket_users, self._audit)
        self._children, workers = Children(), Workers(loop)
        self._context = Context(
            host=self._host,
            schema=schema,
            policy=policy,
            files=FileTable(config.statedir, config.max_handles),
            programs=Programs(loop, self._children, self._audit.program_ended, config.max_execs, config.max_captured),
            freezer=Freezer(loop, workers, self._host, freeze, config),
            workers=workers,
            config=config,
        )
        self._dispatcher = Dispatcher(self._context, bind(schema), self._audit, called)
        self._channel = ReopeningChannel(loop, self._context, self._open)
        self._review_due = False
        freeze.subscribe(self._on_freeze)

    def run(self, ready: Callable[[], None] = lambda: None) -> int:
        """Serve hosts until a signal arrives or the channel is lost; return the exit status.

        However it ends, no filesystem stays frozen. ``ready`` is called when hosts can be served. Raises
        ChannelError if the channel cannot be opened.
        """
        gc.set_threshold(_NEW_CONTAINERS, *gc.get_threshold()[1:])
        try:
            self._audit.start()
            if not self._freeze.frozen:  # while frozen, nothing may be written; opening a file repairs it later
                self._context.files.repair()
            self._loop.on_signal(signal.SIGCHLD, self._children.reap)
            for number in _ENDING:
                self._loop.on_signal(number, self._loop.stop)
            self._loop.on_signal(signal.SIGHUP, self._loop.stop if self._reread is None else self._reload)
            self._channel.open()
            ready()
            self._notify("READY=1")
            self._notify_watchdog()
            self._loop.run()
            self._notify("STOPPING=1")
            return 0
        finally:
            self._context.freezer.thaw_at_end()
            self._context.programs.close()
            self._channel.close()
            self._audit.close()
            self._notify.close()

    def _reload(self) -> None:
        """Read configuration and policy again, keeping the current ones on any error. Reopen the logs in any case."""
        assert self._reread is not None
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        lines = installed()
        self._audit.reopen()
        try:
            settings = self._reread(self._context.config)
        except Exception as error:
            if lines is not None:
                lines.reopen()
            log.error("configuration not reloaded, keeping the previous one: %s", error)
        else:
            config = settings.config
            if lines is not None:
                lines.configure(config.logfile, verbose=config.verbose, debug=config.debug)
            self._context.configure(config, settings.rules)
            review.review_programs(self._context, self._audit)
            self._review_files()
            for warning in settings.warnings:
                log.warning("%s", warning)
            log.info("configuration, policy and log file reloaded")
        self._notify("READY=1")

    def _review_files(self) -> None:
        """Close the files that the new policy forbids, or wait for the thaw while filesystems are frozen."""
        self._review_due = self._freeze.frozen
        if not self._review_due:
            review.review_files(self._context, self._audit)

    def _notify_watchdog(self) -> None:
        """Notify systemd's watchdog from the loop, so that an agent whose loop is stuck is restarted."""
        interval = systemd.watchdog_interval(os.environ)
        if interval is not None:
            self._notify("WATCHDOG=1")
            self._loop.call_later(interval / 2, self._notify_watchdog)

    def _on_freeze(self, frozen: bool) -> None:
        if not frozen and self._review_due:
            self._review_files()

    def _open(self, on_lost: Callable[[str], None]) -> Channel:
        return open_channel(
            self._loop,
            self._host,
            self._context.config.method,
            self._context.config.path or "",
            lambda wake: Session(self._dispatcher, wake),
            on_lost,
            self._inherited,
            self._peers.admits,
        )


def _audit(loop: Loop, config: Config, policy: Policy) -> NoAudit:
    """Return the audit log, or a NoAudit if none is configured. Raises ConfigError."""
    where = sinks.destination(config.audit_log, os.environ)
    if where == "off":
        if config.audit_required:
            raise ConfigError("audit-required: this is not a service of systemd, expected audit-log with a file")
        return NoAudit()
    from qga.agent.audit import Audit
    from qga.agent.audit.filesink import FileSink
    from qga.agent.audit.journal import JournalSink

    sink: sinks.Sink = JournalSink() if where == "journal" else FileSink(where)
    channel = f"{config.method} {config.path}" if config.path else "a socket of systemd"
    return Audit(loop, sink, channel, policy.on_audit_failure if config.audit_required else lambda failing: None)


def _which(program: str) -> str | None:
    import shutil  # imported here: it pulls in every compression module of Python

    return shutil.which(program)


def _hold_bytecode(frozen: bool) -> None:
    """Stop Python from writing compiled modules while frozen: an import would wait for a thaw that never comes."""
    sys.dont_write_bytecode = frozen or bool(sys.flags.dont_write_bytecode)
