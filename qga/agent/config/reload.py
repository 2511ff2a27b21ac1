"""The settings: configuration and policy together, read at the start and again at each reload.

The rule it keeps: either everything is read and valid, or nothing changes.
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

    ``rules`` is None if only the lists decide. ``warnings`` are lines for the log.
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
    """The source of the settings; it remembers command line, environment and working directory of the start.

    A file that is optional at the start must exist at every reload once it was read: if it vanished by mistake, the
    agent would allow what the file has forbidden. To remove it on purpose, leave an empty file or restart the agent.
    """

    def __init__(
        self, given: Given, environ: Mapping[str, str], schema: Schema, current: Config, default: str = POLICY
    ) -> None:
        """Take ``current`` as the configuration of this start and ``default`` as the policy file if none is named."""
        self._given = given
        self._environ = dict(environ)
        self._schema = schema
        self._directory = os.getcwd() if current.daemon else ""
        self._activated = current.path is None
        self._path = os.path.join(self._directory, config.file_of(given, environ))
        self._default = default
        self._seen = self._existing()

    def read(self, current: Config) -> Settings:
        """Read the settings again. An option that is not reloadable keeps its value in ``current``, with a warning.

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
        wanted = config.absolute_paths(loaded.config, self._directory) if current.daemon else loaded.config
        kept = []
        for option in OPTIONS:
            value = getattr(current, option.field)
            if not option.reloadable and getattr(wanted, option.field) != value:
                wanted = wanted._replace(**{option.field: value})
                kept.append(f"{option.key} cannot change while the agent runs, and stays {value}")
        existing = self._existing()
        if self._default in seen - existing and wanted.policy is None and wanted.profile is None:
            raise ConfigError(f"policy {self._default} has been removed: expected a policy there, or profile = full")
        settings = complete(wanted, self._schema, (*loaded.warnings, *kept), self._default)
        self._seen = existing
        return settings

    def _existing(self) -> set[str]:
        """Return which of the configuration file and the default policy exist."""
        return {path for path in (self._path, self._default) if os.path.lexists(path)}


def complete(wanted: Config, schema: Schema, warnings: tuple[str, ...] = (), default: str = POLICY) -> Settings:
    """Return the settings for a configuration, after checking its command names and reading its policy.

    Raises ConfigError and PolicyError.
    """
    config.check_names(wanted, schema.commands)
    return Settings(wanted, read_policy(wanted, schema, default), warnings)


def read_policy(wanted: Config, schema: Schema, default: str = POLICY) -> Rules | None:
    """Return the rules of the policy in force, or None. Raises ConfigError and PolicyError."""
    path = policy_file(wanted, default)
    if path is None:
        return None
    from qga.agent.policy import (
        rules,
    )  # imported here: it loads a parser that agents without a policy do not need

    return rules.load(path, schema.commands)


def policy_file(wanted: Config, default: str = POLICY) -> str | None:
    """Return the path of the policy in force: the configured one, or the default one if it exists, or None.

    Raises ConfigError if both a policy and a profile are set: it is not clear which of them should apply.
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
    """Return whether a policy file exists. Raises ConfigError if that cannot be determined, as it may exist."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"cannot look for policy {path}: {error.strerror}") from None
    return True
