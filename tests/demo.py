"""``make run``: the agent at work on an emulated serial line, on this machine, harming nothing.

A real agent process serves one end of a pty pair, this program is the host at the other end. What would put a
laptop to sleep is replaced: pm-utils by stand-ins on the agent's PATH, and /sys/power and systemd by an empty
directory in place of the guest's root. The rest is real, also the double-forked probe, its pipe and the reaper.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import textwrap
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lines import Lines

PATIENCE = 20.0  # seconds for any reply: then the demonstration has failed
WIDTH = 110  # characters of a line that are shown

_SUPPORTED = """#!/bin/sh
# Stands in for pm-is-supported(1): a machine with no swap space, so nothing to hibernate to.
case "$1" in
  --suspend) exit 0 ;;
  *) echo "no swap space is large enough"; exit 1 ;;
esac
"""
_SUSPEND = """#!/bin/sh
# Stands in for pm-suspend(8).
echo "$(date +%T) asleep" >> "$QGA_DEMO_LOG"
sleep 1
echo "$(date +%T) awake again" >> "$QGA_DEMO_LOG"
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="qga-demo-") as name:
        directory = Path(name)
        _install_stand_ins(directory / "bin")
        host_end, guest_end = os.openpty()
        tty.setraw(guest_end)
        agent = _start_agent(directory, os.ttyname(guest_end))
        try:
            with Host(host_end) as host:
                os.close(guest_end)
                _converse(host, directory)
        finally:
            os.kill(agent, signal.SIGTERM)
            _, status = os.waitpid(agent, 0)
        print(f"\nThe agent was told to stop, and ended with status {os.waitstatus_to_exitcode(status)}.")
        return os.waitstatus_to_exitcode(status)


def _converse(host: Host, directory: Path) -> None:
    print("The agent serves an emulated serial line (a pty pair); this is the host at the other end.")

    step("Synchronise: whatever an earlier host left half-said is dropped, the reply comes after a byte 0xFF.")
    number = secrets.randbits(31)
    host.send("guest-sync-delimited", b"\xff", id=number)
    check("error" in host.receive())  # the 0xFF that asks for a reset is answered too, as QEMU does
    check(host.receive() == {"return": number})

    step("Ping.")
    host.send("guest-ping")
    check(host.receive() == {"return": {}})

    step("Ask what it can do.")
    host.send("guest-info")
    info = host.receive()["return"]
    check(any(command["name"] == "guest-suspend-ram" for command in info["supported_commands"]))
    print(f"    interface of QEMU {info['version']}, {len(info['supported_commands'])} commands:")
    names = ", ".join(command["name"].removeprefix("guest-") for command in info["supported_commands"])
    print(textwrap.fill(f"guest-: {names}", WIDTH, initial_indent="    ", subsequent_indent="    "))

    step("Suspend to RAM. Nobody's laptop goes to sleep: pm-utils is a stand-in that takes a nap of one second.")
    host.send("guest-suspend-ram")
    print("    no reply: success is silent. The next ping is answered when the guest is awake again.")
    host.send("guest-ping")
    check(host.receive() == {"return": {}})
    for line in (directory / "pm.log").read_text().splitlines():
        print(f"    pm-suspend (stand-in): {line}")

    step("Suspend to disk, which this guest cannot: the reply says what every method answered.")
    host.send("guest-suspend-disk")
    reason = host.receive()["error"]["desc"]
    check("not supported by the guest" in reason)
    print(textwrap.fill(reason, WIDTH, initial_indent="    ", subsequent_indent="    "))


class Host(Lines):
    """The host's end of the line; shows what crosses it."""

    def send(self, command: str, prefix: bytes = b"", **arguments: object) -> None:  # type: ignore[override]
        body = {"execute": command, **({"arguments": arguments} if arguments else {})}
        text = json.dumps(body)
        print(f"  host  → {'FF ' if prefix else ''}{text}")
        super().send(prefix + text.encode() + b"\n", PATIENCE)

    def receive(self) -> Any:
        line = self.read_line(PATIENCE)
        delimited = line.startswith(b"\xff")
        text = line.removeprefix(b"\xff").decode()
        print(f"  agent → {'FF ' if delimited else ''}{text if len(text) <= WIDTH else text[:WIDTH] + ' …'}")
        return json.loads(text)


def step(text: str) -> None:
    print(f"\n{text}")


def check(held: bool) -> None:
    if not held:
        sys.exit("The agent's answer is not the one that was expected.")


def _install_stand_ins(directory: Path) -> None:
    directory.mkdir()
    for name, script in (("pm-is-supported", _SUPPORTED), ("pm-suspend", _SUSPEND)):
        (directory / name).write_text(script)
        (directory / name).chmod(0o755)


def _start_agent(directory: Path, line: str) -> int:
    """A real agent process on ``line``, whose guest is an empty directory; returns its pid when it is ready."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with open(reading, "rb") as readiness:
            check(readiness.read(1) == b"+")
        return pid
    status = 1
    try:
        os.environ["PATH"] = f"{directory / 'bin'}:{os.defpath}"
        os.environ["QGA_DEMO_LOG"] = str(directory / "pm.log")
        status = _serve(directory, line, lambda: _tell(writing))
    finally:
        os._exit(status)


def _tell(writing: int) -> None:
    os.write(writing, b"+")
    os.close(writing)


def _serve(directory: Path, line: str, ready: Callable[[], None]) -> int:
    from qga.agent import config
    from qga.agent.app import App
    from qga.agent.linux.host import Host as Guest
    from qga.agent.loop import Loop
    from qga.agent.processes import run_helper
    from qga.agent.state.freeze import FreezeState
    from qga.protocol import schema

    root = directory / "root"
    root.mkdir()
    options = ["-c", os.devnull, "-m", "isa-serial", "-p", line, "-t", str(directory)]
    settings = config.load(options, {}).config
    guest = Guest(run=run_helper, which=shutil.which, root=str(root))
    with Loop() as loop:
        freeze = FreezeState(settings.statedir, settings.fsfreeze_timeout)
        return App(loop, settings, schema.load(), freeze, guest).run(ready)


if __name__ == "__main__":
    sys.exit(main())
