"""What the owner asks of the configuration: would this be allowed, and by which rule; is all of it sound?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from qga import config, schema, settings
from qga.cmdline import Given
from qga.config import Config, ConfigError
from qga.context import Context
from qga.dispatch import Dispatcher, bind
from qga.errors import CommandError, RequestError
from qga.linux import hooks
from qga.linux.host import Host
from qga.options import CONFIG_PATH
from qga.policy import Policy
from qga.processes import ask
from qga.rules import PolicyError
from qga.wire import Decoder


def explain(wanted: Config, request: str) -> tuple[bool, str]:
    """Whether a request is allowed while nothing is frozen, and lines that say why.

    Raises RequestError for what is none, CommandNotFound for a command that there is not; ConfigError, PolicyError.
    """
    commands = schema.load()
    found = settings.complete(wanted, commands)
    policy = Policy(wanted.allow_rpcs, wanted.block_rpcs, (), found.rules)
    context = Context(Host(run=ask, which=shutil.which), commands, policy, config=wanted)
    messages = list(Decoder().feed(request.encode(errors="surrogateescape") + b"\n"))
    if len(messages) != 1:
        raise RequestError(f"expected one request, not {len(messages)}")
    allowed, rule, target = Dispatcher(context, bind(commands)).judge(messages[0])
    lines = [f"{'allowed' if allowed else 'denied'}: {rule}"]
    if target is not None:
        found_at = target.path or "no path"
        lines.append(f"path: {found_at}" + (f" ({target.error.strerror})" if target.error is not None else ""))
        target.close()
    return allowed, "".join(f"{line}\n" for line in lines)


def check(given: Given, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether configuration, policy and hooks are sound, and a line for each thing that was looked at or is wrong."""
    problems: list[str] = []
    warnings: list[str] = []
    looked_at = [f"configuration {given.config_path or environ.get('QGA_CONF', CONFIG_PATH)} and the command line"]
    wanted = config.defaults()
    try:
        loaded = config.read(given, environ)
    except ConfigError as error:
        problems += error.problems
    else:
        wanted = loaded.config
        warnings += loaded.warnings
        try:
            found = settings.complete(wanted, schema.load())
        except (ConfigError, PolicyError) as error:
            problems += error.problems
        else:
            warnings += found.warnings
            policy = settings.policy_file(wanted)
            looked_at.append(f"policy {policy}" if policy is not None else "no policy: all is allowed")
        if wanted.fsfreeze_hook is not None:
            try:
                looked_at += [f"hook {hook}" for hook in _hooks(wanted.fsfreeze_hook)]
            except CommandError as error:
                problems.append(str(error))
    lines = [f"problem: {problem}" for problem in problems] + [f"warning: {warning}" for warning in warnings]
    lines += [] if problems else [f"OK: {what}" for what in looked_at]
    return not problems, "".join(f"{line}\n" for line in lines)


def _hooks(path: str) -> list[str]:
    """Raises CommandError for what could not be run, or must not."""
    found = hooks.list_hooks(Host(run=ask, which=shutil.which), path)
    for hook in found:
        if not os.access(hook, os.X_OK):
            raise CommandError(f"fsfreeze hook {hook} is no program that can be run")
    return found
