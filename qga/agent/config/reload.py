"""Configuration and policy together, read at the start and again at each reload.

The rule it keeps: all of it is read and understood, or nothing changes.
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
    """A configuration with its policy.

    ``rules`` is None where everything is allowed that the lists allow. ``warnings`` are lines for the log.
    """

    def __init__(self, config: Config, rules: Rules | None, warnings: tuple[str, ...] = ()) -> None:
        self.config = config
        self.rules = rules
        self.warnings = warnings + (() if rules is None else rules.warnings)

    def policy(self, schema: Schema) -> Policy:
        """Return the policy of the lists and the rules together."""
        from qga.agent.policy import Policy

        return Policy(self.config.allow_rpcs, self.config.block_rpcs, schema.allowed_while_frozen, self.rules)


class Source:
    """Where the settings come from: it keeps the working directory and the environment of the start.

    A file that need not exist at the start must still exist at a reload once it was read: without it the agent would
    allow what the file has forbidden, perhaps by mistake. To say that it is meant, leave an empty file, or restart.
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
        """Read the settings again. What is not reloadable stays as it is in ``now``, with a warning.

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
            raise ConfigError(f"policy {self._default} has been removed: expected a policy there, or profile = full")
        settings = complete(wanted, self._schema, (*loaded.warnings, *kept), self._default)
        self._seen = there
        return settings

    def _there(self) -> set[str]:
        return {path for path in (self._path, self._default) if os.path.lexists(path)}


def complete(wanted: Config, schema: Schema, warnings: tuple[str, ...] = (), default: str = POLICY) -> Settings:
    """Check the names of commands and read the policy. Raises ConfigError and PolicyError."""
    config.check_names(wanted, schema.commands)
    return Settings(wanted, read_policy(wanted, schema, default), warnings)


def read_policy(wanted: Config, schema: Schema, default: str = POLICY) -> Rules | None:
    """Return the rules of the policy in force, or None. Raises ConfigError and PolicyError."""
    path = policy_file(wanted, default)
    if path is None:
        return None
    from qga.agent.policy import rules  # here: it imports a parser, and many agents have no policy

    return rules.load(path, schema.commands)


def policy_file(wanted: Config, default: str = POLICY) -> str | None:
    """Return the path of the policy in force: the configured one, or the default one if it exists, or None.

    Raises ConfigError where there are both a policy and a profile: it is not clear which of them was meant.
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
    """Return whether a policy is there. Raises ConfigError where that cannot be found out: it may be there."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"cannot look for policy {path}: {error.strerror}") from None
    return True
