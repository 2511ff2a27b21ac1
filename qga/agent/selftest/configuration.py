"""Checks of the configuration, the policy, the audit log and the state directory, and of file permissions."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from qga.agent.audit import sinks
from qga.agent.channel import Peers
from qga.agent.config import check_names, reload
from qga.agent.config.options import POLICY, ConfigError
from qga.agent.linux.ownership import not_only_roots
from qga.agent.policy.rules import PolicyError
from qga.agent.selftest.finding import Finding, Subject, ok, problem, warning
from qga.protocol import schema

NO_START = "correct it: until then the agent does not start"


def configuration(subject: Subject) -> Iterator[Finding]:
    """Check the configuration file, and the names of commands and users in it."""
    there = os.path.exists(subject.host.path(subject.path))
    yield ok(f"{subject.path} " + ("is read" if there else "does not exist: the built-in defaults are in effect"))
    for text in subject.warnings:
        yield warning(text, "correct it, or take it out")
    yield from _problems(lambda: check_names(subject.config, schema.load().commands))
    yield from _problems(lambda: Peers(subject.config.socket_users, None))


def policy(subject: Subject) -> Iterator[Finding]:
    """Check the policy, and report how many commands it and the lists allow."""
    config, commands = subject.config, schema.load()
    try:
        rules = reload.read_policy(config, commands)
        path = reload.policy_file(config)
    except (ConfigError, PolicyError) as error:
        for text in error.problems:
            yield problem(text, NO_START)
        return
    settings = reload.Settings(config, rules)
    policy = settings.policy(commands)
    allowed = [command for command in commands.commands.values() if policy.permits(command.name)]
    by = f" by the profile {config.profile}" if config.profile else f" by {path}" if path else ""
    for text in settings.warnings:
        yield warning(text, "correct the rule")
    yield ok(f"{len(allowed)} of {len(commands.commands)} commands are allowed{by}")
    if dangerous := [command.name for command in allowed if command.gives_root]:
        yield ok(f"the host can become root in this guest, by {', '.join(dangerous)}")


def _problems(check: Callable[[], object]) -> Iterator[Finding]:
    """Yield a finding for each problem that a check raises."""
    try:
        check()
    except ConfigError as error:
        for text in error.problems:
            yield problem(text, NO_START)


def audit_log(subject: Subject) -> Iterator[Finding]:
    """Check where the audit log goes when the agent runs as a service rather than in this terminal."""
    host, setting = subject.host, subject.config.audit_log
    if setting == "off":
        yield ok("no audit log is kept: audit-log is off")
    elif setting is None or setting == "journal":
        if os.path.exists(host.path(sinks.JOURNAL)):
            yield ok(
                "the audit log goes to the journal" + (", if systemd starts the agent" if setting is None else "")
            )
        elif setting is None:
            yield ok("no audit log is kept: there is no journal, and audit-log is not set")
        else:
            yield problem(f"there is no journal at {sinks.JOURNAL}", "set audit-log to a file")
    else:
        directory = os.path.dirname(setting)
        if os.path.islink(host.path(setting)):
            yield problem(
                f"the audit log {setting} is a symbolic link, which is not followed",
                f"set audit-log to {os.path.realpath(host.path(setting))}",
            )
        elif os.path.isdir(host.path(directory)):
            yield ok(f"the audit log goes to {setting}")
        else:
            yield problem(f"the audit log's directory {directory} does not exist", f"mkdir -p {directory}")


def permissions(subject: Subject) -> Iterator[Finding]:
    """Check that only root can change the files that restrict the host, and only root can read its audit log."""
    host, config = subject.host, subject.config
    audit = config.audit_log if config.audit_log not in (None, "journal", "off") else None
    read = {"log": config.logfile, "audit log": audit}
    changed = {"configuration": subject.path, "policy": config.policy or POLICY, **read}
    sound = []
    for name, path in changed.items():
        if path is None or not os.path.exists(host.path(path)):
            continue
        mode = stat.S_IMODE(os.stat(host.path(path)).st_mode)
        refusal = not_only_roots(host, path)
        if refusal is not None:
            yield problem(
                f"the {name} {path} can be changed by users other than root: {refusal}", "chown root, chmod go-w"
            )
        elif name in read and mode & (stat.S_IRGRP | stat.S_IROTH):
            yield warning(f"users other than root can read the {name} {path} (mode {mode:04o})", f"chmod 600 {path}")
        else:
            sound.append(path)
    if sound:
        yield ok(f"only root can change {', '.join(sound)}")


def state_directory(subject: Subject) -> Iterator[Finding]:
    """Check that the state directory can be written to."""
    directory = subject.config.statedir
    if not os.path.isdir(subject.host.path(directory)):
        yield problem(
            f"the state directory {directory} does not exist", f"mkdir -p {directory}: guest-file-open needs it"
        )
    elif not os.access(subject.host.path(directory), os.W_OK):
        yield warning(f"the state directory {directory} cannot be written to", "run the self-test as root")
    else:
        yield ok(f"the state directory {directory} can be written to")
