"""What the owner asks of the configuration: would this be allowed, and by which rule; is all of it sound?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from qga.agent import config
from qga.agent.binding import bind
from qga.agent.channel import Peers
from qga.agent.config import Config, ConfigError, Loaded, reload
from qga.agent.config.cmdline import Given
from qga.agent.config.options import NAMES, OPTIONS
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher
from qga.agent.linux import hooks
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.agent.policy.rules import PolicyError
from qga.agent.processes import ask
from qga.protocol import schema
from qga.protocol.errors import CommandError, RequestError
from qga.protocol.wire import Decoder

_LISTS = [option.key for option in OPTIONS if option.kind is NAMES]


def explain(loaded: Loaded, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the request of --explain is allowed while nothing is frozen, and lines that say why.

    Raises RequestError for what is none, CommandNotFound for a command that there is not; ConfigError, PolicyError.
    """
    wanted, commands = loaded.config, schema.load()
    found = reload.complete(wanted, commands)
    policy = Policy(wanted.allow_rpcs, wanted.block_rpcs, (), found.rules)
    context = Context(Host(run=ask, which=shutil.which), commands, policy, config=wanted)
    messages = list(Decoder().feed(loaded.given.request.encode(errors="surrogateescape") + b"\n"))
    if len(messages) != 1:
        raise RequestError(f"expected one request, not {len(messages)}")
    decision = Dispatcher(context, bind(commands)).judge(messages[0])
    rule = config.places_of(decision.rule, loaded.given, environ) if decision.rule in _LISTS else decision.rule
    lines = [f"{'allowed' if decision.allowed else 'denied'}: {rule}"]
    if (target := decision.target) is not None:
        found_at = target.path or "no path"
        lines.append(f"path: {found_at}" + (f" ({target.error.strerror})" if target.error is not None else ""))
        target.close()
    return decision.allowed, "".join(f"{line}\n" for line in lines)


def check(given: Given, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether configuration, policy and hooks are sound, and a line for each thing that is wrong or sound."""
    warnings: list[str] = []
    problems: list[str] = []
    sound: list[str] = []

    def look(at: Callable[[], Iterable[str]]) -> None:
        """``at`` returns what it has found sound."""
        try:
            sound.extend(at())
        except (ConfigError, PolicyError) as error:
            problems.extend(error.problems)
        except CommandError as error:
            problems.append(str(error))

    def configuration() -> list[str]:
        loaded = config.read(given, environ)
        warnings.extend(loaded.warnings)
        for part in (lists, policy, users, hooks_of_freeze):
            look(partial(part, loaded.config))
        return [f"configuration {config.file_of(given, environ)} and the command line"]

    def lists(wanted: Config) -> list[str]:
        config.check_names(wanted, commands.commands)
        return []

    def policy(wanted: Config) -> list[str]:
        rules = reload.read_policy(wanted, commands)
        if rules is None:
            return ["no policy: what the lists allow is allowed"]
        warnings.extend(rules.warnings)
        return [f"policy {reload.policy_file(wanted)}"]

    def users(wanted: Config) -> list[str]:
        Peers(wanted.socket_users, None)
        return []

    def hooks_of_freeze(wanted: Config) -> list[str]:
        return [f"hook {hook}" for hook in _hooks(wanted.fsfreeze_hook)] if wanted.fsfreeze_hook is not None else []

    commands = schema.load()
    look(configuration)
    kinds = (("problem", problems), ("warning", warnings), ("OK", sound))
    return not problems, "".join(f"{kind}: {line}\n" for kind, lines in kinds for line in lines)


def _hooks(path: str) -> list[str]:
    """Raises CommandError for what could not be run, or must not."""
    found = hooks.list_hooks(Host(run=ask, which=shutil.which), path)
    for hook in found:
        if not os.access(hook, os.X_OK):
            raise CommandError(f"fsfreeze hook {hook} is no program that can be run")
    return found
