"""The composition root: builds the rooms, opens the channel, keeps it open, and ends when it is told to."""

from __future__ import annotations

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
from qga.agent.channel import Channel, ChannelError, Peers, open_channel
from qga.agent.commands import fsfreeze
from qga.agent.config import Config
from qga.agent.config.options import ConfigError
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher, log_call
from qga.agent.linux.host import Host
from qga.agent.loop import Loop, Timer
from qga.agent.policy import Policy
from qga.agent.processes import Children, ask, begin, run_as
from qga.agent.service import systemd
from qga.agent.service.log import installed
from qga.agent.session import Session
from qga.agent.state.freeze import FreezeState
from qga.agent.state.handles import FileTable
from qga.agent.state.programs import Execs
from qga.agent.tasks import Task
from qga.protocol.errors import CommandError
from qga.protocol.schema import Schema

if TYPE_CHECKING:
    from qga.agent.config.reload import Settings
    from qga.agent.policy.rules import Rules

log = logging.getLogger(__name__)

THAW_PAUSE = 10.0  # seconds between two tries to thaw what nobody has thawed
STUCK_PAUSE = 1.0  # seconds between two looks at whether the kernel has answered: they cost nothing
RETRY_PAUSE = 5.0  # seconds between two tries to open a channel, as QEMU
HANGUP_PAUSE = 1.0  # seconds before a serial port that hung up is opened again: at once would spin

# The last ends QEMU's agent at once, as SIGHUP does, and leaves what it has frozen frozen.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Agent:
    def __init__(
        self,
        config: Config,
        schema: Schema,
        host: Host | None = None,
        freeze: FreezeState | None = None,
        rules: Rules | None = None,
        reread: Callable[[Config], Settings] | None = None,
        called: Callable[[object], None] = log_call,
    ) -> None:
        """Raises SchemaError where handlers and schema do not match, ConfigError for what the machine contradicts.

        ``reread`` is called at SIGHUP, with the configuration so far; without it, that ends the agent. ``called``
        gets the audit lines.
        """
        self._reread = reread
        host = host or Host(run=ask, which=_which, run_as=run_as, begin=begin)
        policy = Policy(config.allow_rpcs, config.block_rpcs, schema.allowed_while_frozen, rules)
        freeze = freeze or FreezeState(config.statedir, config.fsfreeze_timeout)
        freeze.subscribe(policy.on_freeze)
        freeze.subscribe(_hold_bytecode)
        self._audit = _audit(config, policy)
        if self._audit is not None:
            freeze.subscribe(self._audit.on_freeze)
        self._peers = Peers(config.socket_users, self._audit)
        self._host = host
        self._context = Context(
            host,
            schema,
            policy,
            FileTable(config.statedir, config.max_handles),
            Execs(config.max_execs, config.max_captured),
            freeze=freeze,
            config=config,
        )
        self._dispatcher = Dispatcher(self._context, bind(schema), self._audit, called)
        self._children = Children()
        self._channel: Channel | None = None
        self._waiting = False
        self._review_due = False
        self._overdue: Timer | None = None

    def run(self, ready: Callable[[], None] = lambda: None) -> int:
        """Serve until a signal or the loss of the channel ends it; returns the exit status.

        Whatever ends it, no filesystem stays frozen. ``ready`` is called when hosts can be served. Raises
        ChannelError or ActivationError before that.
        """
        self._inherited = systemd.inherited_socket(os.environ)
        self._notify = systemd.Notifier(os.environ)
        self._loop = Loop()
        try:
            self._context.execs.attach(self._loop, self._children)
            self._context.workers.attach(self._loop)
            if self._audit is not None:
                self._context.execs.on_exit = self._audit.program_ended
                self._audit.attach(self._loop)
                self._audit.start()
            if not self._context.freeze.frozen:  # else nothing may be written; the first file that is opened does it
                self._context.files.repair()
            self._context.freeze.subscribe(self._on_freeze)
            self._on_freeze(self._context.freeze.frozen)
            self._loop.on_signal(signal.SIGCHLD, self._children.reap)
            for number in _ENDING:
                self._loop.on_signal(number, self._loop.stop)
            self._loop.on_signal(signal.SIGHUP, self._loop.stop if self._reread is None else self._reload)
            if self._context.config.retry_path:
                self._keep_trying()
            else:
                self._open()
            ready()
            self._notify("READY=1")
            self._feed_watchdog()
            self._loop.run()
            self._notify("STOPPING=1")
            return 0
        finally:
            self._thaw()
            self._context.execs.close()
            if self._channel is not None:
                self._channel.close()
            if self._audit is not None:
                self._audit.close()
            self._notify.close()
            self._loop.close()

    def _reload(self) -> None:
        """Take the owner's files anew; if they are not sound, go on with what was. The log is opened again anyway."""
        assert self._reread is not None
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        lines = installed()
        if self._audit is not None:
            self._audit.reopen()
        try:
            settings = self._reread(self._context.config)
        except Exception as error:
            if lines is not None:
                lines.reopen()
            log.error("the configuration is not taken anew, the one before stays in force: %s", error)
        else:
            config = settings.config
            if lines is not None:
                lines.configure(config.logfile, verbose=config.verbose, debug=config.debug)
            self._context.configure(config, settings.rules)
            review.review_programs(self._context, self._audit)
            self._review_files()
            for warning in settings.warnings:
                log.warning("%s", warning)
            log.info("configuration, policy and log file are taken anew")
        self._notify("READY=1")

    def _review_files(self) -> None:
        """Hold the open files to the new policy, once nothing is frozen."""
        self._review_due = self._context.freeze.frozen
        if not self._review_due:
            review.review_files(self._context, self._audit)

    def _feed_watchdog(self) -> None:
        """From the loop, so that systemd starts an agent anew that has got stuck."""
        interval = systemd.watchdog_interval(os.environ)
        if interval is not None:
            self._notify("WATCHDOG=1")
            self._loop.call_later(interval / 2, self._feed_watchdog)

    def _on_freeze(self, frozen: bool) -> None:
        """A freeze that nobody ends ends by itself, also one of hooks alone."""
        if not frozen and self._review_due:
            self._review_files()
        deadline = self._context.freeze.deadline
        self._thaw_in(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _thaw_in(self, seconds: float | None) -> None:
        """At that time, and no other."""
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = None if seconds is None else self._loop.call_later(seconds, self._thaw_overdue)

    def _thaw_overdue(self) -> None:
        freeze = self._context.freeze
        again = bool(freeze.stuck)  # that has been said
        task = Task(fsfreeze.thaw_overdue(self._context, freeze.generation))

        def check() -> None:
            try:
                task.result()
            except CommandError as error:
                log.log(logging.DEBUG if again else logging.ERROR, "thawing: %s", error)
                if freeze.held:
                    self._thaw_in(STUCK_PAUSE if freeze.stuck else THAW_PAUSE)

        task.then(check)

    def _thaw(self) -> None:
        """Nobody else would: a guest with frozen filesystems cannot even be shut down."""
        if not self._context.freeze.held:
            return
        log.warning("the agent ends while the guest is frozen: thawing it")
        try:
            fsfreeze.thaw_at_end(self._context)
        except CommandError as error:
            log.error("thawing: %s", error)

    def _open(self) -> None:
        config = self._context.config
        self._channel = open_channel(
            self._loop,
            self._host,
            config.method,
            config.path or "",
            lambda wake: Session(self._dispatcher, wake),
            self._on_lost,
            self._inherited,
            self._peers.admits,
        )

    def _keep_trying(self) -> None:
        """Open the channel, now or later; one line in the log for however many tries."""
        try:
            self._open()
        except ChannelError as error:
            log.log(logging.DEBUG if self._waiting else logging.WARNING, "%s; waiting for it", error)
            self._waiting = True
            self._loop.call_later(RETRY_PAUSE, self._keep_trying)
        else:
            if self._waiting:
                log.warning("channel %s is open", self._context.config.path)
            self._waiting = False

    def _on_lost(self, reason: str) -> None:
        """The channel itself is gone: a port was unplugged, a serial line hung up."""
        self._channel = None
        hung_up = self._context.config.method == "isa-serial"
        if not hung_up and not self._context.config.retry_path:
            log.error("channel %s is lost: %s", self._context.config.path, reason)
            self._loop.stop()
            return
        log.log(
            logging.INFO if hung_up else logging.WARNING, "channel %s is lost: %s", self._context.config.path, reason
        )
        self._waiting = True
        self._loop.call_later(HANGUP_PAUSE if hung_up else RETRY_PAUSE, self._keep_trying)


def _audit(config: Config, policy: Policy) -> NoAudit:
    """The audit log, if there is to be one. Raises ConfigError."""
    where = sinks.destination(config.audit_log, os.environ)
    if where == "off":
        if config.audit_required:
            raise ConfigError("audit-required: this is no service of systemd, expected audit-log with a file")
        return NoAudit()
    from qga.agent.audit import Audit
    from qga.agent.audit.filesink import FileSink
    from qga.agent.audit.journal import JournalSink

    sink: sinks.Sink = JournalSink() if where == "journal" else FileSink(where)
    channel = f"{config.method} {config.path}" if config.path else "a socket of systemd"
    return Audit(sink, channel, policy.on_audit_failure if config.audit_required else lambda failing: None)


def _which(program: str) -> str | None:
    import shutil  # here: it brings every compression that Python knows

    return shutil.which(program)


def _hold_bytecode(frozen: bool) -> None:
    """A module imported while frozen must not be written down compiled: that would wait for the thaw for ever."""
    sys.dont_write_bytecode = frozen or bool(sys.flags.dont_write_bytecode)
