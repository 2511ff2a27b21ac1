"""The subcommands of ``qga``: the help, the function and the arguments of each, as a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from qga.tool.units import Lines, duration, lines, positive


class Argument(NamedTuple):
    """One call of ``add_argument``."""

    names: Sequence[str]
    options: dict[str, Any]


class Subcommand(NamedTuple):
    """``summary`` and ``details`` are its help; ``function`` is ``MODULE:NAME`` below ``qga.tool``.

    ``json``: whether --json changes what it prints; the others take that option and ignore it.
    """

    summary: str
    function: str
    arguments: Sequence[Argument] = ()
    details: str = ""
    json: bool = False


def _a(*names: str, **options: Any) -> Argument:
    return Argument(names, options)


def _time(name: str, text: str, default: float | None = None) -> Argument:
    return _a(name, dest="limit", type=duration, metavar="TIME", default=default, help=text)


_PATH = _a("path", metavar="PATH", help="a path in the guest")
_INSECURE = _a(
    "--insecure",
    action="store_true",
    help="write even where the agent runs no programs: in place, by a path that users of the guest may redirect, and,"
    " if the file is new, open for all of them to read and write",
)
_WAIT_GONE = _a("--wait", action="store_true", dest="gone", help="return only once the agent no longer answers")
_POWER_DETAILS = "Returns as soon as the agent has accepted the request."
_TERMINAL = (
    _a(
        "--pty",
        choices=["python3", "script"],
        help="the program of the guest that makes the terminal (default: python3, else script)",
    ),
    _a(
        "--linger",
        type=duration,
        default=60.0,
        metavar="TIME",
        help="end the program in the guest once this tool has not been heard of for TIME (default: 1m)",
    ),
)


def _words(text: str) -> Argument:
    return _a("words", nargs=argparse.REMAINDER, metavar="CMD", help=text)


def _hotplug(unit: str, function: str) -> Subcommand:
    return Subcommand(
        f"List the guest's {unit}s, or take them online or offline",
        function,
        (
            _a("what", choices=["list", "online", "offline"], nargs="?", default="list", help="what to do"),
            _a("numbers", nargs="*", type=int, metavar="N", help=f"the number of a {unit}"),
        ),
        "Without arguments, or with list, prints a table; with online or offline, changes the state of each N.",
        json=True,
    )


COMMANDS: dict[str, Subcommand] = {
    "ping": Subcommand("Check that the agent answers", "commands.agent:ping", json=True),
    "info": Subcommand("Print the agent's version and its commands", "commands.agent:info", json=True),
    "call": Subcommand(
        "Run any command of the agent, including one that this tool does not know",
        "commands.raw:call",
        (
            _a("name", metavar="COMMAND", help="the command, such as guest-get-osinfo"),
            _a(
                "arguments",
                nargs="*",
                metavar="NAME=VALUE",
                help="an argument of the command; VALUE is JSON, or plain text where a string is expected",
            ),
        ),
        "Prints what it returns, as JSON.",
        json=True,
    ),
    "install-agent": Subcommand(
        "Install a package with this project's agent in the guest, through the agent that it has now",
        "commands.install:install_agent",
        (
            _a("--dry-run", action="store_true", help="only say what would be done, and whether it can be"),
            _time("--wait", "how long the installation may take, and again the first answer (default: 2m)", 120.0),
            _a("file", metavar="FILE", help="the package of this machine: qga-agent_VERSION_all.deb or .rpm"),
        ),
        "Waits until the new agent answers; if it does not, the guest goes back to its distribution's agent.",
    ),
    "make-iso": Subcommand(
        "Make a disk from which cloud-init installs the agent at a guest's first boot; needs no agent",
        "commands.iso:make_iso",
        (
            _a("--output", metavar="FILE", default="qga-install.iso", help="the disk (default: qga-install.iso)"),
            _a("--user-data", metavar="FILE", help="user data of your own for cloud-init, which go onto the disk"),
            _a("packages", nargs="+", metavar="PACKAGE", help="qga-agent_VERSION_all.deb or .rpm, or one of each"),
        ),
        "The disk is a seed of cloud-init's NoCloud: a file of ISO 9660 with the label cidata.",
    ),
    "schema": Subcommand(
        "List the commands that this tool knows, or describe one",
        "commands.schema:schema",
        (_a("name", nargs="?", metavar="COMMAND", help="the command to describe (default: list all)"),),
        "No agent is needed.",
        json=True,
    ),
    "completion": Subcommand(
        "Print a completion script for a shell",
        "completion:completion",
        (_a("shell", choices=["bash", "zsh", "fish"], help="the shell"),),
        "No agent is needed.",
    ),
    "status": Subcommand(
        "Show the guest on one screen: system, load, memory, users, filesystems, network",
        "commands.status:status",
        json=True,
    ),
    "top": Subcommand(
        "Show live what processors, disks and network interfaces of the guest are doing; q quits",
        "commands.top:top",
        (
            _a("--interval", type=duration, default=1.0, metavar="TIME", help="time between samples (default: 1s)"),
            _a("--count", type=positive, metavar="N", help="stop after N samples (default: never)"),
        ),
        "With --json, prints one JSON object per sample.",
        json=True,
    ),
    "exec": Subcommand(
        "Run a program in the guest and show its output while it runs",
        "remote.exec:execute",
        (
            _a("--env", action="append", default=[], metavar="NAME=VALUE", help="set an environment variable"),
            _a("--stdin", action="store_true", help="pass this tool's stdin on to the program"),
            _time("--timeout", "end the program and its process group after TIME (default: never)"),
            _a("--tty", action="store_true", help="run it on a terminal in the guest, as shell does"),
            *_TERMINAL,
            _words("the program and its arguments, optionally after --"),
        ),
        "The exit status is the program's.",
    ),
    "shell": Subcommand(
        "Open a terminal in the guest; ~. at the beginning of a line leaves it",
        "remote.shell:shell",
        (
            _a("--user", metavar="USER", help="the user to log in as (default: the agent's user, usually root)"),
            _a("--env", action="append", default=[], metavar="NAME=VALUE", help="set an environment variable"),
            *_TERMINAL,
            _words("a program and its arguments to run instead of the user's login shell, optionally after --"),
        ),
        "The exit status is the shell's or the program's.",
    ),
    "cp": Subcommand(
        "Copy files to or from the guest",
        "commands.cp:cp",
        (
            _a("-r", "--recursive", action="store_true", help="copy directories with everything in them"),
            _a("--resume", action="store_true", help="keep what an interrupted copy has written, and continue there"),
            _a("--no-verify", action="store_true", help="do not compare hashes of source and copy"),
            _a("--keep-setuid", action="store_true", help="keep the setuid, setgid and sticky bits as well"),
            _INSECURE,
            _a("--device", action="store_true", help="read from, or write to, a block device, from its beginning"),
            _a(
                "paths",
                nargs="+",
                metavar="PATH",
                help="one or more sources, then the target: :PATH is in the guest, PATH on this machine, - stdin or"
                " stdout",
            ),
        ),
        json=True,
    ),
    "cat": Subcommand(
        "Print files of the guest",
        "commands.read:cat",
        (_a("paths", nargs="+", metavar="PATH", help="a path in the guest"),),
    ),
    "tail": Subcommand(
        "Print the last lines of a file of the guest",
        "commands.tail:tail",
        (
            _a("-f", "--follow", action="store_true", help="keep printing what is added, also after a log rotation"),
            _a("-F", action="store_true", dest="retry", help="like -f, and wait for the file if it does not exist"),
            _a(
                "-n",
                "--lines",
                type=lines,
                default=Lines(10),
                metavar="N",
                help="print the last N lines; +N starts at line N (default: 10)",
            ),
            _PATH,
        ),
    ),
    "ls": Subcommand(
        "List a directory of the guest",
        "commands.read:ls",
        (_a("-l", "--long", action="store_true", help="show mode, owner, size and time as well"), _PATH),
    ),
    "edit": Subcommand(
        "Edit a file of the guest with $VISUAL or $EDITOR of this machine", "commands.edit:edit", (_INSECURE, _PATH)
    ),
    "freeze": Subcommand(
        "Freeze the guest's filesystems, run a command on this machine, and thaw them",
        "commands.freeze:freeze",
        (
            _time("--timeout", "end the command, and thaw, after TIME (default: 1m)", 60.0),
            _words("the command and its arguments, optionally after --"),
        ),
        "They are thawed however the command ends. The exit status is the command's.",
    ),
    "snapshot": Subcommand(
        "Freeze the guest's filesystems, snapshot its disks through QEMU's monitor, and thaw them",
        "commands.snapshot:snapshot",
        (
            _a("--qmp", required=True, metavar="ADDRESS", help="QEMU's monitor (QMP): a unix socket or HOST:PORT"),
            _a("--directory", metavar="DIR", help="where to put the new files (default: beside each disk's file)"),
            _a("--name", metavar="NAME", help="suffix of the new files' names (default: the current time)"),
            _time("--timeout", "how long the freeze, and the monitor's answer, may take (default: 1m)", 60.0),
            _a("disks", nargs="*", metavar="DISK", help="a disk to snapshot (default: all writable disks)"),
        ),
        "From then on the guest writes to a new qcow2 file per disk. The filesystems are thawed whatever happens.",
        json=True,
    ),
    "trim": Subcommand("Tell the guest's disks which blocks are unused", "commands.trim:trim", json=True),
    "suspend": Subcommand(
        "Suspend the guest",
        "commands.power:suspend",
        (_a("how", choices=["ram", "disk", "hybrid"], help="to RAM, to disk (hibernate), or both"),),
    ),
    "shutdown": Subcommand("Power the guest off", "commands.power:shutdown", (_WAIT_GONE,), _POWER_DETAILS),
    "reboot": Subcommand("Reboot the guest", "commands.power:shutdown", (_WAIT_GONE,), _POWER_DETAILS),
    "halt": Subcommand(
        "Halt the guest without powering it off", "commands.power:shutdown", (_WAIT_GONE,), _POWER_DETAILS
    ),
    "time": Subcommand(
        "Show or set the guest's clock",
        "commands.clock:time",
        (
            _a(
                "what",
                choices=["get", "set", "sync"],
                nargs="?",
                default="get",
                help="show it (the default), set it to WHEN, or set it from the guest's hardware clock",
            ),
            _a("when", nargs="?", metavar="WHEN", help="for set: seconds since 1970, or now for this machine's time"),
        ),
        json=True,
    ),
    "cpu": _hotplug("processor", "commands.hotplug:cpu"),
    "memory": _hotplug("memory block", "commands.hotplug:memory"),
    "passwd": Subcommand(
        "Set the password of a user of the guest",
        "commands.account:passwd",
        (
            _a("--crypted", action="store_true", help="the password is already hashed, as crypt(5) describes"),
            _a("user", metavar="USER", help="the user"),
        ),
        "Asks for it on a terminal; otherwise reads one line from stdin.",
    ),
    "ssh-key": Subcommand(
        "List, add or remove authorized SSH keys of a user of the guest",
        "commands.account:ssh_key",
        (
            _a("what", choices=["add", "remove", "list"], help="what to do"),
            _a("user", metavar="USER", help="the user"),
            _a(
                "keys",
                nargs="*",
                metavar="KEY|FILE",
                help="a public key in quotes, or a file on this machine with one key per line",
            ),
        ),
        json=True,
    ),
}
