"""install-agent: this project's agent in place of the one that the guest has, through that one.

The agent that answers is about to be replaced, and what it has started may end with it. So the package is installed
by a service of systemd, or a session of its own, which goes back to the other agent unless the host confirms in time
that the new one answers.
"""

from __future__ import annotations

import argparse
import math
import posixpath
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from qga.client.client import Client
from qga.client.errors import AgentTimeout, AgentUnreachable, ClientError, CommandFailed, CommandNotFound
from qga.tool import output
from qga.tool.exits import UsageError
from qga.tool.remote import guest

NEEDED = ("guest-exec", "guest-exec-status", "guest-file-open", "guest-file-write", "guest-file-close")
INSTALLERS = {".deb": "dpkg", ".rpm": "rpm"}
PAUSE = 1.0  # seconds between two looks
PING_TIMEOUT = 5.0  # seconds: what an agent was sent that has ended is lost


def install_agent(client: Client, options: argparse.Namespace) -> None:
    """Install a package with an agent in the guest. Raises ClientError if the guest still has the other one."""
    package = Path(options.file)
    if package.suffix not in INSTALLERS:
        raise UsageError(f"{package}: expected a package: a file that ends with .deb or .rpm")
    package.stat()
    _refuse_what_is_blocked(client)
    before = _version(client)
    _refuse_another_kind(client, INSTALLERS[package.suffix])
    if options.dry_run:
        output.line(f"the guest has {before}; {package.name} would take its place")
        return
    directory = f"/var/tmp/qga-install-{secrets.token_hex(8)}"  # noqa: S108  its name is not to be guessed
    client.run(["mkdir", "-m", "700", directory], check=True)
    client.upload(str(package), posixpath.join(directory, package.name))
    _start(client, directory, package.name, options.limit)
    _confirm(client, directory, before, options.limit)


def _refuse_what_is_blocked(client: Client) -> None:
    """Raise CommandNotFound where the agent lacks a command that an installation needs, or its policy blocks it."""
    enabled = {command.name for command in client.guest_info().supported_commands if command.enabled}
    for name in NEEDED:
        if name not in enabled:
            raise CommandNotFound(name, "has been disabled: an installation runs programs and writes files")


def _version(client: Client) -> str:
    """Return what the agent says of itself: its program's version if it can be run, else that of its interface."""
    done = client.run(["qemu-ga", "--version"], text=True)
    shown = done.stdout.strip().replace("\n", ", ")
    return shown or f"an agent of version {client.guest_info().version}"


def _refuse_another_kind(client: Client, installer: str) -> None:
    """Raise ClientError where the guest does not have the program that installs this kind of package."""
    try:
        client.run([installer, "--version"])
    except CommandFailed:
        raise ClientError(f"the guest has no {installer}: it takes another kind of package") from None


def _start(client: Client, directory: str, name: str, wait: float) -> None:
    """Start the installation where it does not end with the agent that starts it."""
    with client.open(f"{directory}/install.sh", "w") as file:
        file.write(guest.text("install.sh"))
    words = ["sh", f"{directory}/install.sh", "start", f"{directory}/{name}", str(math.ceil(2 * wait))]
    client.run(words, check=True)


def _confirm(client: Client, directory: str, before: str, wait: float) -> None:
    """Wait until the new agent answers, and confirm it; otherwise the guest goes back to the other by itself."""
    status = _retried(client, lambda: _read(client, f"{directory}/result"), wait, "the package was not installed")
    log = _read(client, f"{directory}/log") or ""
    if status.strip() != "0":
        client.run(["touch", f"{directory}/confirmed"], check=True)  # nothing is to be undone
        raise ClientError(f"the package was not installed: {_last_line(log)}")
    after = _retried(client, lambda: _ours(client), wait, "the new agent does not answer")
    client.run(["touch", f"{directory}/confirmed"], check=True)
    output.line(f"before: {before}")
    output.line(f"now:    {after}")


def _retried(client: Client, look: Callable[[], str | None], wait: float, complaint: str) -> str:
    """Return what ``look`` returns once that is not empty; meanwhile the agent may be away."""
    deadline = time.monotonic() + wait
    while True:
        try:
            client.guest_ping(timeout=PING_TIMEOUT)
            if found := look():
                return found
        except (AgentUnreachable, AgentTimeout, CommandFailed):
            pass
        if time.monotonic() >= deadline:
            raise AgentTimeout(f"{complaint} within {wait:g} s: the guest will take its other agent again")
        time.sleep(PAUSE)


def _read(client: Client, path: str) -> str | None:
    done = client.run(["cat", path], text=True)
    return None if done.returncode else str(done.stdout)


def _ours(client: Client) -> str | None:
    version = _version(client)
    return version if "qga " in version else None


def _last_line(log: str) -> str:
    return (log.strip().splitlines() or ["it says nothing"])[-1]
