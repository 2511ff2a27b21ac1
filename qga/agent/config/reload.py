"""What the owner has set, read at the start and again whenever the agent is told to: configuration and policy.

The rule it keeps: all of it is read and understood, or none of it counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qga.agent import config
from qga.agent.config import Config, ConfigError
from qga.agent.config.cmdline import Given
from qga.agent.config.options import OPTIONS, POLICY
from qga.protocol.schema import Schema

if TYPE_CHECKING:
    from qga.agent.policy import Policy
    from qga.agent.policy.rules import Rules


class Settings:
    """``rules`` is None where everything is allowed that the lists allow. ``warnings`` are lines for the log."""

    def __init__(self, config: Config, rules: Rules | None, warnings: tuple[str, ...] = ()) -> None:
        self.config = config
        self.rules = rules
        self.warnings = warnings + (() if rules is None else rules.warnings)

    def policy(self, schema: Schema) -> Policy:
        """Return the policy of the lists and the rules together."""
        from qga.agent.policy import Policy

        return Policy(self.config.allow_rpcs, self.config.block_rpcs, schema.allowed_while_frozen, self.rules)


class Source:
    """Where the settings come from: it outlives the working directory and the environment of the start.

    A file that need not be there at a start must still be there once it was read: without it a reload would allow
    what it has forbidden, and nobody may have meant that. An empty file says that it was meant; so does a restart.
    """

    def __init__(
        self, given: Given, environ: Mapping[str, str], schema: Schema, now: Config, default: str = POLICY
    ) -> None:
        """``now`` is what this start has found, ``default`` the policy that counts where none is named."""
        self._given = given
        self._environ = dict(environ)
        self._schema = schema
        self._directory = os.getcwd() if now.daemon else ""
        self._activated = now.path is None
        self._path = os.path.join(self._directory, config.file_of(given, environ))
        self._default = default
        self._seen = self._there()

    def read(self, now: Config) -> Settings:
        """Read it again. What cannot change in a running agent is as it is in ``now``, with a warning.

        Raises ConfigError and PolicyError.
        """
        seen = self._seen
        loaded = config.read(
            self._given,
            self._environ,
            directory=self._directory,
            activated=self._activated,
            must_exist=self._path in seen,
        )
        wanted = config.absolute_paths(loaded.config, self._directory) if now.daemon else loaded.config
        kept = []
        for option in OPTIONS:
            value = getattr(now, option.field)
            if not option.reloadable and getattr(wanted, option.field) != value:
                wanted = wanted._replace(**{option.field: value})
                kept.append(f"{option.key} cannot change while the agent runs, and stays {value}")
        there = self._there()
        if self._default in seen - there and wanted.policy is None and wanted.profile is None:
            raise ConfigError(f"policy {self._default} is gone: expected a policy there, or profile = full")
        settings = complete(wanted, self._schema, (*loaded.warnings, *kept), self._default)
        self._seen = there
        return settings

    def _there(self) -> set[str]:
        return {path for path in (self._path, self._default) if os.path.lexists(path)}


def complete(wanted: Config, schema: Schema, warnings: tuple[str, ...] = (), default: str = POLICY) -> Settings:
    """The configuration, held to the schema, and the policy that it names. Raises ConfigError and PolicyError."""
    config.check_names(wanted, schema.commands)
    return Settings(wanted, read_policy(wanted, schema, default), warnings)


def read_policy(wanted: Config, schema: Schema, default: str = POLICY) -> Rules | None:
    """Raises ConfigError and PolicyError."""
    path = policy_file(wanted, default)
    if path is None:
        return None
    from qga.agent.policy import rules  # here: it brings a parser, and many an agent has no policy

    return rules.load(path, schema.commands)


def policy_file(wanted: Config, default: str = POLICY) -> str | None:
    """The policy in force: the one that is configured, or the default one if it is there. Raises ConfigError.

    A policy and a profile do not add up, and neither is what the owner of both can be sure of.
    """
    path = wanted.policy or (default if _exists(default) else None)
    if wanted.profile is None:
        return path
    if path is not None:
        raise ConfigError(f"there is a profile ({wanted.profile}) and a policy ({path}): expected only one of them")
    if wanted.profile == "full":
        return None
    from qga.agent.policy import rules

    return rules.profile(wanted.profile)


def _exists(path: str) -> bool:
    """Raises ConfigError where that cannot be told: a policy that cannot be seen is not the same as none."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"cannot look for policy {path}: {error.strerror}") from None
    return True
