"""install-agent: this project's agent in place of the one that the guest has, through that one.

The agent that answers is about to be replaced, and what it has started may end with it. So the package is installed
by a service of systemd, or a session of its own, which goes back to the agent of the guest's distribution unless the
host confirms in time that the new one answers.
"""

from __future__ import annotations

import argparse
import math
import posixpath
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from qga.client.client import Client
from qga.client.errors import AgentTimeout, ClientError, CommandFailed, CommandNotFound
from qga.tool import output
from qga.tool.exits import UsageError
from qga.tool.remote import guest

NEEDED = ("guest-exec", "guest-exec-status", "guest-file-open", "guest-file-write", "guest-file-close")
INSTALLERS = {".deb": "dpkg", ".rpm": "rpm"}
PROGRAM = "/usr/libexec/qga-agent/qemu-ga"  # of the package
PAUSE = 1.0  # seconds between two looks
PATIENCE = 5.0  # seconds that a look may take: what an agent was sent that has ended is lost
SHOWN = 200  # characters of what a program of the guest says


def package_file(name: str) -> Path:
    """Return the path of a package that is there. Raises UsageError for what is none, and OSError."""
    path = Path(name)
    if path.suffix not in INSTALLERS:
        raise UsageError(f"{name}: expected a package: a file that ends with .deb or .rpm")
    path.stat()
    return path


def install_agent(client: Client, options: argparse.Namespace) -> None:
    """Install a package with an agent in the guest. Raises ClientError if the guest does not get the new agent."""
    package = package_file(options.file)
    _refuse_what_is_blocked(client)
    before, agent = _version(client, "qemu-ga"), _answering(client)
    _refuse_another_kind(client, INSTALLERS[package.suffix])
    if options.dry_run:
        output.line(f"the guest has {before}; {package.name} would take its place")
        return
    directory = f"/var/tmp/qga-install-{secrets.token_hex(8)}"  # noqa: S108  its name is not to be guessed
    _run(client, ["mkdir", "-m", "700", directory])
    client.upload(str(package), posixpath.join(directory, package.name))
    _start(client, directory, package.name, options.limit)
    _confirm(client, directory, agent, options.limit)
    output.line(f"before: {before}")
    output.line(f"now:    {_version(client, PROGRAM)}")


def _refuse_what_is_blocked(client: Client) -> None:
    """Raise CommandNotFound where the agent lacks a command that an installation needs, or its policy blocks it."""
    enabled = {command.name for command in client.guest_info().supported_commands if command.enabled}
    for name in NEEDED:
        if name not in enabled:
            raise CommandNotFound(name, "has been disabled: an installation runs programs and writes files")


def _refuse_another_kind(client: Client, installer: str) -> None:
    """Raise ClientError where the guest does not have the program that installs this kind of package."""
    try:
        _run(client, [installer, "--version"])
    except CommandFailed:
        raise ClientError(f"the guest has no {installer}: it takes another kind of package") from None


def _start(client: Client, directory: str, name: str, wait: float) -> None:
    """Start the installation where it does not end with the agent that starts it."""
    with client.open(f"{directory}/install.sh", "w") as file:
        file.write(guest.text("packages.sh") + guest.text("install.sh"))
    _run(client, ["sh", f"{directory}/install.sh", "start", f"{directory}/{name}", str(math.ceil(2 * wait))])


def _confirm(client: Client, directory: str, before: str, wait: float) -> None:
    """Wait until the new agent answers, and confirm it; otherwise the guest goes back by itself."""
    result = _retried(lambda: _run(client, ["cat", f"{directory}/result"]), wait)
    if result != "0":
        failure = _last_line(_run(client, ["tail", "-n", "1", f"{directory}/log"]))
        _run(client, ["touch", f"{directory}/confirmed"])  # nothing is left to be undone
        raise ClientError(f"the package was not installed: {failure}")

    def ours() -> bool:
        agent = _answering(client)
        return PROGRAM in agent and agent != before

    _retried(ours, wait)
    _run(client, ["touch", f"{directory}/confirmed"])


def _retried(look: Callable[[], str | bool], wait: float) -> str | bool:
    """Return what ``look`` returns once that is not empty; meanwhile the agent may be away."""
    deadline = time.monotonic() + wait
    while True:
        try:
            if found := look():
                return found
            reason = ""
        except ClientError as error:
            reason = f" ({error})"
        if time.monotonic() >= deadline:
            text = f"no new agent answered within {wait:g} s{reason}"
            raise AgentTimeout(f"{text}: the guest goes back to its distribution's agent")
        time.sleep(PAUSE)


def _answering(client: Client) -> str:
    """Return the process id and the command line of the agent that answers."""
    return _run(client, guest.command("answering.sh"))


def _version(client: Client, program: str) -> str:
    """Return what a program of an agent says of itself, or the version of the interface where it cannot be run."""
    try:
        return ", ".join(_run(client, [program, "--version"]).splitlines())
    except ClientError:
        return f"an agent of version {client.guest_info().version}"


def _run(client: Client, words: Iterable[str]) -> str:
    """Return what a program of the guest has printed, shortened. Raises ClientError if it fails, or takes long."""
    argv = [*words]
    client.guest_ping(timeout=PATIENCE)  # an agent that is away is not given what it could carry out later
    done = client.run(argv, timeout=PATIENCE, text=True)
    if done.returncode:
        raise ClientError(f"{argv[0]} failed in the guest: {_last_line(str(done.stderr))}")
    return str(done.stdout)[:SHOWN].strip()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1][:SHOWN]
