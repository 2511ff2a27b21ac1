"""The table of options, used for the command line, qemu-ga.conf, --dump-conf, a reload and the README.

The rule it keeps: an option is one row here and one field of Config. Its kind says how it is read; there is no other
list of options.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from qga.agent.config import keyfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CONFIG_PATH = "/etc/qemu/qemu-ga.conf"
FSFREEZE_HOOK = "/etc/qemu/fsfreeze-hook"
DEFAULT_PATHS = {
    "virtio-serial": "/dev/virtio-ports/org.qemu.guest_agent.0",
    "isa-serial": "/dev/ttyS0",
}
METHODS = ("virtio-serial", "isa-serial", "unix-listen", "vsock-listen")

# Keys and options that were removed, and their successors. Such a key is an error: ignoring it would block nothing.
REMOVED = {"blacklist": "block-rpcs"}

# Keys that this agent does not have and that restrict nothing; they are ignored so that files of QEMU's agent can be
# used. To be extended when QEMU's releases add keys.
IGNORED = {"daemonize": "QEMU's manual has it, and no agent reads it: the key is 'daemon'"}

POLICY = "/etc/qemu/qga-policy.toml"
PROFILES = ("full", "info", "backup", "managed", "confidential")


class ConfigError(Exception):
    """The configuration is not valid; its arguments are a text for each problem."""

    @property
    def problems(self) -> tuple[str, ...]:
        """A text for each problem: where it is, what is wrong and what was expected."""
        return self.args

    def __str__(self) -> str:
        return "; ".join(self.problems)


class Kind(NamedTuple):
    """A kind of value: how values are parsed, written and combined.

    ``parse`` raises ValueError or KeyError for an invalid text, and ``expected`` describes valid ones. An empty text
    counts as not given, or is an error if ``may_be_empty`` is False. If an option is given several times, its values
    are joined if ``add_up`` is True; otherwise the last one counts.
    """

    parse: Callable[[str], Any]
    expected: str
    write: Callable[[Any], str] = keyfile.escape
    may_be_empty: bool = True
    add_up: bool = False


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text]


def _method(text: str) -> str:
    return METHODS[METHODS.index(text)]


class Names(tuple[str, ...]):
    """A list of names, and the text that QEMU's --dump-conf prints: the parts between ``,`` in reverse order."""

    shown: str

    def __new__(cls, names: Iterable[str] = (), shown: str = "") -> Names:
        """Return the tuple of ``names``, with the text ``shown`` for --dump-conf."""
        made = super().__new__(cls, names)
        made.shown = shown
        return made

    def __add__(self, other: object) -> Names:
        if not isinstance(other, Names):
            return NotImplemented
        return Names((*self, *other), ",".join(filter(None, (self.shown, other.shown))))


def _names(text: str) -> Names:
    """Split a text at ``,`` and ``;``. Raises ValueError if no name is left."""
    parts = [[name for word in part.split(";") if (name := word.strip())] for part in text.split(",")[::-1]]
    names = Names((name for part in parts for name in part), ",".join(";".join(part) for part in parts if part))
    if not names:
        raise ValueError(text)
    return names


BOOL = Kind(_boolean, "true, false, 1 or 0", lambda value: "true" if value else "false", may_be_empty=False)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise ValueError(text)
    return int(text)


def _globs(text: str) -> tuple[str, ...]:
    globs = tuple(glob for part in re.split("[,;]", text) if (glob := part.strip()))
    if not globs:
        raise ValueError(text)
    return globs


def _file(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _profile(text: str) -> str:
    return PROFILES[PROFILES.index(text)]


METHOD = Kind(_method, "one of " + ", ".join(METHODS), may_be_empty=False)


def _audit_log(text: str) -> str:
    if text not in ("journal", "off") and not text.startswith("/"):
        raise ValueError(text)
    return text


STRING = Kind(str, "a text")
AUDIT_LOG = Kind(_audit_log, "journal, off or an absolute path", may_be_empty=False)
PATH = Kind(str, "a path")
FILE = Kind(_file, "a path", may_be_empty=False)
PROFILE = Kind(_profile, "one of " + ", ".join(PROFILES), may_be_empty=False)
NUMBER = Kind(_number, "a number, in decimal digits", str)
USERS = Kind(
    _globs,
    "names or numbers of users separated by ',' or ';'",
    lambda users: keyfile.escape(",".join(users)),
    may_be_empty=False,
    add_up=True,
)
GLOBS = Kind(
    _globs,
    "patterns separated by ',' or ';'",
    lambda globs: keyfile.escape(",".join(globs)),
    add_up=True,
)
NAMES = Kind(
    _names,
    "command names separated by ',' or ';'",
    lambda names: keyfile.escape(names.shown if isinstance(names, Names) else ",".join(names)),
    add_up=True,
)


class Option(NamedTuple):
    """A row of the table: the key in qemu-ga.conf, the command-line options, and what they mean.

    ``bare`` is the value of an option that is given without one; the value of such an option must be attached
    (``-F/x``, ``--fsfreeze-hook=/x``). A BOOL takes no value. --dump-conf shows every value except None; an option
    that is ``ours``, not QEMU's, is shown only if it was changed, so that the output otherwise equals that of QEMU's
    agent. An option that is not ``reloadable`` keeps its value until the agent ends.
    """

    key: str
    flags: tuple[str, ...]
    kind: Kind
    default: Any
    help: str
    metavar: str = ""
    bare: str | None = None
    ours: bool = False
    reloadable: bool = True

    @property
    def field(self) -> str:
        """The name of the option's field in Config."""
        return self.key.replace("-", "_")


# In the order of --dump-conf.
OPTIONS: tuple[Option, ...] = (
    Option("daemon", ("-d", "--daemonize"), BOOL, False, "run in the background, with a pid file", reloadable=False),
    Option(
        "method",
        ("-m", "--method"),
        METHOD,
        "virtio-serial",
        f"transport: {METHOD.expected}",
        "METHOD",
        reloadable=False,
    ),
    Option(
        "path",
        ("-p", "--path"),
        STRING,
        None,
        "device or socket, or CID:PORT for vsock-listen; by default "
        + " and ".join(f"{path} for {method}" for method, path in DEFAULT_PATHS.items()),
        "PATH",
        reloadable=False,
    ),
    Option("logfile", ("-l", "--logfile"), PATH, None, "append the log to this file instead of stderr", "PATH"),
    Option(
        "pidfile",
        ("-f", "--pidfile"),
        PATH,
        "/var/run/qemu-ga.pid",
        "pid file, used only with -d",
        "PATH",
        reloadable=False,
    ),
    Option(
        "fsfreeze-hook",
        ("-F", "--fsfreeze-hook"),
        PATH,
        None,
        "run this script with 'freeze' before freezing and with 'thaw' after thawing; the path must be "
        f"attached (-F/x, --fsfreeze-hook=/x), and is {FSFREEZE_HOOK} if the option is given without one",
        "PATH",
        bare=FSFREEZE_HOOK,
    ),
    Option(
        "statedir",
        ("-t", "--statedir"),
        PATH,
        "/var/run",
        "existing directory for state files",
        "DIR",
        reloadable=False,
    ),
    Option(
        "verbose",
        ("-v", "--verbose"),
        BOOL,
        False,
        "also log informational messages and every command that is called",
    ),
    Option("debug", ("--debug",), BOOL, False, "log everything, including tracebacks"),
    Option(
        "retry-path",
        ("-r", "--retry-path"),
        BOOL,
        False,
        "if the path cannot be opened or stops working, wait and try again",
    ),
    Option(
        "block-rpcs",
        ("-b", "--block-rpcs"),
        NAMES,
        Names(),
        "commands to refuse, separated by ',' or ';'; 'help' lists all commands",
        "LIST",
    ),
    Option(
        "allow-rpcs",
        ("-a", "--allow-rpcs"),
        NAMES,
        Names(),
        "the only commands to permit, separated by ',' or ';'; 'help' lists all commands",
        "LIST",
    ),
    Option(
        "policy",
        ("--policy",),
        FILE,
        None,
        f"rules about commands and their arguments, in TOML; by default {POLICY} if that exists",
        "FILE",
        ours=True,
    ),
    Option(
        "profile",
        ("--profile",),
        PROFILE,
        None,
        f"predefined policy to use instead of a policy file: {PROFILE.expected}",
        "NAME",
        ours=True,
    ),
    Option(
        "fsfreeze-timeout",
        ("--fsfreeze-timeout",),
        NUMBER,
        600,
        "seconds after which frozen filesystems are thawed if no host has done so; 0 means never",
        "SECONDS",
        ours=True,
    ),
    Option(
        "fsfreeze-hook-timeout",
        ("--fsfreeze-hook-timeout",),
        NUMBER,
        30,
        "seconds after which a hook is ended; 0 means never",
        "SECONDS",
        ours=True,
    ),
    Option(
        "exclude-fs",
        ("--exclude-fs",),
        GLOBS,
        (),
        "filesystems not to freeze, trim or list: patterns of devices (/dev/…), mount points (/…) or types",
        "LIST",
        ours=True,
    ),
    Option(
        "exclude-nics",
        ("--exclude-nics",),
        GLOBS,
        (),
        "network interfaces not to list: patterns of names",
        "LIST",
        ours=True,
    ),
    Option(
        "primary-nics",
        ("--primary-nics",),
        GLOBS,
        (),
        "network interfaces to list first: patterns of names",
        "LIST",
        ours=True,
    ),
    Option(
        "max-handles",
        ("--max-handles",),
        NUMBER,
        512,
        "maximum number of files that a host may have open at a time; 0 means no limit",
        "NUMBER",
        ours=True,
    ),
    Option(
        "max-execs",
        ("--max-execs",),
        NUMBER,
        128,
        "maximum number of guest-exec programs that may run at a time; 0 means no limit",
        "NUMBER",
        ours=True,
    ),
    Option(
        "max-captured",
        ("--max-captured",),
        NUMBER,
        256 * 1024 * 1024,
        "maximum bytes of output kept for all guest-exec programs together; the rest is truncated; 0 means no limit",
        "BYTES",
        ours=True,
    ),
    Option(
        "max-reply",
        ("--max-reply",),
        NUMBER,
        0,
        "maximum bytes of a reply: a larger one is cut short if the reply can say so, else refused; 0 means no limit",
        "BYTES",
        ours=True,
    ),
    Option(
        "audit-log",
        ("--audit-log",),
        AUDIT_LOG,
        None,
        "where to record every command: journal, a file, or off; by default journal if systemd runs the agent, "
        "else off",
        "WHERE",
        ours=True,
        reloadable=False,
    ),
    Option(
        "audit-required",
        ("--audit-required",),
        BOOL,
        False,
        "while the audit log cannot be written, refuse all commands but those that are allowed while frozen",
        ours=True,
        reloadable=False,
    ),
    Option(
        "socket-users",
        ("--socket-users",),
        USERS,
        (),
        "the only users that may connect to a unix socket, by name or number; by default anyone who can open it",
        "LIST",
        ours=True,
        reloadable=False,
    ),
)

# Options of the command line only.
EXPLAIN = (
    ("--explain",),
    "REQUEST",
    "say whether a request would be allowed, and which rule decides; exit status 0, or 3 if not",
)
CONFIG_FILE = (("-c", "--config"), "PATH", f"configuration file, by default $QGA_CONF or {CONFIG_PATH}")


class Action(Enum):
    """The action that the command line asks for."""

    RUN = "run"
    DUMP = "dump"
    EXPLAIN = "explain"
    CHECK = "check"
    HELP = "help"
    VERSION = "version"
    LIST_COMMANDS = "list"
    PRINT_UNIT = "print-unit"
    SELF_TEST = "self-test"


ACTIONS = (
    (("-D", "--dump-conf"), Action.DUMP, "print the configuration in effect as a configuration file"),
    (
        ("--check-config",),
        Action.CHECK,
        "check the configuration, policy and hooks, and report problems; exit status 0, or 1 if there are any",
    ),
    (("-V", "--version"), Action.VERSION, "print the version"),
    (("-h", "--help"), Action.HELP, "print this help"),
)
OUR_ACTIONS = (
    (
        ("--print-unit",),
        Action.PRINT_UNIT,
        "print a drop-in for qemu-ga.service that restricts the service to what it needs",
    ),
    (
        ("--self-test",),
        Action.SELF_TEST,
        "check everything that the agent needs, change nothing, and print a report; "
        "exit status 0, 1 (warnings) or 2 (problems)",
    ),
)
JSON = (("--json",), "with --self-test: print JSON")


def markdown() -> str:
    """Return the options as a Markdown table for the README, with a newline after every line."""
    rows = [(option.flags, option.metavar, option.key, default_of(option), option.help) for option in OPTIONS]
    rows += [(flags, metavar, "", "", text) for flags, metavar, text in (CONFIG_FILE, EXPLAIN)]
    rows += [(flags, "", "", "", text) for flags, _, text in (*ACTIONS, *OUR_ACTIONS)]
    rows.append((JSON[0], "", "", "", JSON[1]))
    lines = ["| option | key in qemu-ga.conf | default | meaning |", "|---|---|---|---|"]
    for flags, metavar, key, default, text in rows:
        option = f"{', '.join(map(_code, flags))} {metavar}".strip()
        lines.append(f"| {option} | {_code(key)} | {_code(default)} | {text} |")
    return "\n".join(lines) + "\n"


def default_of(option: Option) -> str:
    """Return an option's default as qemu-ga.conf would have it; an empty text if there is none."""
    return "" if option.default is None else option.kind.write(option.default)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
