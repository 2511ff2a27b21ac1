"""The configuration: one immutable Config from argv, the environment and qemu-ga.conf; --dump-conf prints it.

The rule it keeps: anything invalid prevents the start with a ConfigError that says where it is and what was expected,
because an agent that silently blocks nothing is worse than one that does not start.

The file overrides the built-in defaults, and the command line the file. The command line can turn switches on but not
off, and its lists are added to those of the file. The options are defined in options.py; conffile.py checks the
file's keys.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from qga.agent.config import cmdline, conffile
from qga.agent.config.cmdline import Given
from qga.agent.config.conffile import GROUP
from qga.agent.config.options import (
    CONFIG_PATH,
    DEFAULT_PATHS,
    FILE,
    NAMES,
    OPTIONS,
    PATH,
    Action,
    ConfigError,
    Option,
)
from qga.agent.spelling import hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Action",
    "Config",
    "ConfigError",
    "Loaded",
    "absolute_paths",
    "check_names",
    "defaults",
    "dump",
    "load",
    "vsock_address",
]

VSOCK_MAX = 2**32 - 1  # of cid and port, which are unsigned 32-bit numbers: vsock(7)


class Config(NamedTuple):
    """The value of every option of the agent. ``None`` and ``()`` mean "not given".

    ``path`` is a device, a socket or ``<cid>:<port>``, according to ``method``; it is None only under socket
    activation, where the service manager passes the descriptor. ``debug`` implies ``verbose``.
    """

    daemon: bool
    method: str
    path: str | None
    logfile: str | None
    pidfile: str
    fsfreeze_hook: str | None
    statedir: str
    verbose: bool
    debug: bool
    retry_path: bool
    block_rpcs: tuple[str, ...]
    allow_rpcs: tuple[str, ...]
    policy: str | None
    profile: str | None
    fsfreeze_timeout: int
    fsfreeze_hook_timeout: int
    exclude_fs: tuple[str, ...]
    exclude_nics: tuple[str, ...]
    primary_nics: tuple[str, ...]
    max_handles: int
    max_execs: int
    max_captured: int
    max_reply: int
    audit_log: str | None
    audit_required: bool
    socket_users: tuple[str, ...]


class Loaded(NamedTuple):
    """The result of load(): the command line, and the resulting configuration.

    ``config`` has the built-in defaults if the action needs no configuration file. ``warnings`` are lines for the
    log; ``path`` is that of the configuration file.
    """

    given: Given
    config: Config
    warnings: tuple[str, ...] = ()
    path: str = CONFIG_PATH

    @property
    def action(self) -> Action:
        """The action that the command line asks for."""
        return self.given.action


def defaults(**changes: Any) -> Config:
    """Return the built-in Config with ``changes``, given by field name; they are not checked."""
    given: dict[str, Any] = {option.field: option.default for option in OPTIONS}
    given["path"] = DEFAULT_PATHS.get(changes.get("method", given["method"]))
    return Config(**(given | changes))


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Read the command line (without the program's name) and the configuration file.

    The file is not read for --help, --version and a 'help' list, so that a broken one cannot prevent them;
    --check-config and --self-test read it later. Raises ConfigError.
    """
    given = cmdline.parse(argv)
    if given.action in _WITHOUT_FILE:
        return Loaded(given, defaults())
    return read(given, environ)


_WITHOUT_FILE = (Action.HELP, Action.VERSION, Action.LIST_COMMANDS, Action.CHECK, Action.SELF_TEST)


def read(
    given: Given,
    environ: Mapping[str, str],
    *,
    directory: str = "",
    activated: bool | None = None,
    must_exist: bool = False,
) -> Loaded:
    """Read the configuration file, and override it with the options of the command line.

    ``directory`` is where a relative path starts, by default the working directory. ``activated`` says whether the
    service manager passes a socket, by default by ``environ``; ``must_exist`` whether the file must exist although
    no -c names it. Raises ConfigError.
    """
    values: dict[str, Any] = {option.field: option.default for option in OPTIONS}
    path = os.path.join(directory, file_of(given, environ))
    groups = conffile.read(path, must_exist=must_exist or given.config_path is not None)
    entries = conffile.entries(groups)
    problems, warnings = conffile.judge(path, groups)
    if given.config_path is None and "QGA_CONF" in environ and not os.path.exists(path):
        warnings.append(f"{path}, which QGA_CONF names, does not exist: no configuration file is read")
    warnings += given.warnings
    for option in OPTIONS:
        try:
            if (entry := entries.get(option.key)) is not None:
                _take(
                    values,
                    option,
                    conffile.string(path, option.key, entry),
                    f"{path}, line {entry.line}, {option.key}",
                )
            for text in given.texts[option.key]:
                _take(values, option, text, f"option {option.flags[-1]}")
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    config = _finish(Config(**values), activated=_activated(environ) if activated is None else activated)
    return Loaded(given, config, tuple(warnings), path)


def file_of(given: Given, environ: Mapping[str, str]) -> str:
    """Return the path of the configuration file, which must exist only if -c names it."""
    return given.config_path if given.config_path is not None else environ.get("QGA_CONF", CONFIG_PATH)


def places_of(key: str, given: Given, environ: Mapping[str, str]) -> str:
    """Return where an option was set: file and line, the command line, or both. Raises ConfigError."""
    path = file_of(given, environ)
    entry = conffile.entries(conffile.read(path, must_exist=False)).get(key)
    places = [f"{path}, line {entry.line}: {key}"] if entry is not None else []
    places += [f"option --{key}"] if given.texts[key] else []
    return " and ".join(places)


_OF_WINDOWS = ("guest-get-devices",)


def check_names(config: Config, known: Iterable[str]) -> None:
    """Raise ConfigError if a listed command is not one of ``known``, suggesting the most similar.

    Commands that only QEMU's agent for Windows has are accepted: distributions ship one list for all systems.
    """
    known = (*known, *_OF_WINDOWS)
    problems = [
        f"{option.key}: {name!r} is not a command{hint(name, known)}, '{option.flags[0]} help' lists them"
        for option in OPTIONS
        if option.kind is NAMES
        for name in getattr(config, option.field)
        if name not in known
    ]
    if problems:
        raise ConfigError(*problems)


def absolute_paths(config: Config, directory: str = "") -> Config:
    """Return a Config with absolute paths: a daemon leaves the working directory.

    Relative paths are resolved against ``directory``, or the working directory.
    """
    names = [option.field for option in OPTIONS if option.kind in (PATH, FILE)]
    if config.method != "vsock-listen":
        names.append("path")
    given: dict[str, Any] = {name: value for name in names if (value := getattr(config, name)) is not None}
    absolute: dict[str, Any] = {}
    for name, value in given.items():
        absolute[name] = os.path.abspath(os.path.join(directory, value))
    return config._replace(**absolute)


def dump(config: Config) -> str:
    """Return the text of --dump-conf: an equivalent qemu-ga.conf, with a newline after every line."""
    lines = [f"[{GROUP}]"]
    for option in OPTIONS:
        value = getattr(config, option.field)
        if value is not None and not (option.ours and value == option.default):
            lines.append(f"{option.key}={option.kind.write(value)}")
    return "\n".join(lines) + "\n"


def vsock_address(path: str) -> tuple[int, int]:
    """Parse ``"3:1234"`` to ``(3, 1234)``, cid and port. Raises ConfigError."""
    match = re.fullmatch("([0-9]{1,10}):([0-9]{1,10})", path)
    if match is None or max(int(match[1]), int(match[2])) > VSOCK_MAX:
        raise ConfigError(f"path: {path!r} is not a vsock address, expected <cid>:<port> in decimal digits")
    return int(match[1]), int(match[2])


def _take(values: dict[str, Any], option: Option, text: str, where: str) -> None:
    """Parse ``text``, and put the value of ``option`` into ``values``, or add it to a list. Raises ConfigError."""
    kind = option.kind
    if not text and kind.may_be_empty:
        return
    try:
        value = kind.parse(text)
    except (ValueError, KeyError):
        raise ConfigError(f"{where}: {text!r} is not valid, expected {kind.expected}") from None
    values[option.field] = values[option.field] + value if kind.add_up else value


def _finish(config: Config, *, activated: bool) -> Config:
    """Return the Config with the settings that depend on more than one option. Raises ConfigError."""
    if activated:
        config = config._replace(path=None)
    elif config.path is None:
        if config.method not in DEFAULT_PATHS:
            raise ConfigError("must specify a path for this channel")
        config = config._replace(path=DEFAULT_PATHS[config.method])
    elif config.method == "vsock-listen":
        vsock_address(config.path)
    if config.audit_required and config.audit_log == "off":
        raise ConfigError("audit-required: audit-log is off, expected journal or a file")
    return config._replace(verbose=config.verbose or config.debug)


def _activated(environ: Mapping[str, str]) -> bool:
    """Return whether the service manager passes this process a listening socket: sd_listen_fds(3)."""
    return environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "0") != "0"
