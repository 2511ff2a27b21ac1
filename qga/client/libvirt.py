"""A connection through libvirt: whole commands by libvirt-python, or by the stock virsh where that is missing.

libvirt itself synchronises and pairs replies, one command at a time; a message is at most 4 MiB there, and what virsh
is given on its command line at most 128 KiB.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

from qga.client import reading
from qga.client.connection import Connection, Limits
from qga.client.errors import AddressError, AgentTimeout, AgentUnreachable, ClientError, OutOfStep, failure
from qga.client.transport import Address

CONNECTING = 5.0  # seconds more than the agent's for virsh itself, and its ssh

Send = Callable[[str, int], str]  # request, seconds: the reply's text

# What libvirt says, and what it means. The texts are those of qemu_agent.c, in English.
_MEANINGS: list[tuple[str, type[ClientError]]] = [
    ("Timed out", AgentTimeout),
    ("timed out", AgentTimeout),
    ("not available for now", AgentTimeout),
    ("did not respond", AgentTimeout),
    ("Guest agent", AgentUnreachable),
    ("guest agent", AgentUnreachable),
    ("domain is not running", AgentUnreachable),
    ("failed to get domain", AgentUnreachable),
    ("Domain not found", AgentUnreachable),
    ("failed to connect", AgentUnreachable),
    ("Cannot recv data", AgentUnreachable),
    ("Failed to connect", AgentUnreachable),
]


class LibvirtConnection(Connection):
    """Nothing is sent before it is collected: what is pipelined elsewhere goes one by one here."""

    limits = Limits(read=1024 * 1024, write=60 * 1024, window=1)
    numbered = False  # libvirt pairs the replies

    def __init__(self, address: Address, timeout: float) -> None:
        """Connect and ping, as libvirt connects to any domain that runs. Raises ClientError."""
        super().__init__(address.text)
        self._address = address
        self._disconnect: Callable[[], object] = lambda: None
        self._send = self._by_python() or self._by_virsh()
        self.collect(self.submit("guest-ping", {}), time.monotonic() + timeout)

    def collect(self, ticket: int, deadline: float) -> Any:
        """Send the request, wait for its reply and return its value."""
        return self.ask(*self.pop(ticket), deadline)

    def ask(self, command: str, room: int, data: bytes, deadline: float) -> Any:
        """Send a request that another connection has popped, wait for its reply and return its value."""
        reply = self._send(data.decode().rstrip(), max(1, math.ceil(deadline - time.monotonic())))
        return _value(command, room, reply)

    def close(self, error: ClientError | None = None) -> None:
        """Close the connection to libvirt; what was not collected fails with ``error``."""
        super().close(error)
        self._disconnect()

    def _by_python(self) -> Send | None:
        try:
            import libvirt  # type: ignore[import-not-found,unused-ignore]
            import libvirt_qemu  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return None
        libvirt.registerErrorHandler(lambda _, error: None, None)  # it prints to stderr otherwise
        try:
            connection = libvirt.open(self._address.host or None)
            domain = connection.lookupByName(self._address.place)
        except libvirt.libvirtError as error:
            raise AgentUnreachable(f"{self._address.text}: {error}") from error
        self._disconnect = connection.close

        def send(text: str, seconds: int) -> str:
            try:
                return str(libvirt_qemu.qemuAgentCommand(domain, text, seconds, 0))
            except libvirt.libvirtError as error:
                raise self._meant(str(error), text) from error

        return send

    def _by_virsh(self) -> Send:
        program = shutil.which("virsh")
        if program is None:
            raise AddressError(f"{self._address.text}: libvirt needs libvirt-python or virsh, and neither is here")
        words = [program, "--quiet", *([f"--connect={self._address.host}"] if self._address.host else [])]

        def send(text: str, seconds: int) -> str:
            command = [
                *words,
                "qemu-agent-command",
                f"--timeout={seconds}",
                f"--domain={self._address.place}",
                f"--cmd={text}",
            ]
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=seconds + CONNECTING,
                    env=_english(),
                )
            except subprocess.TimeoutExpired:
                raise AgentTimeout(
                    f"{self._address.text}: virsh did not end within {seconds + CONNECTING:g} s"
                ) from None
            except OSError as error:
                raise AgentUnreachable(f"{self._address.text}: cannot run virsh: {error.strerror}") from error
            if done.returncode:
                raise self._meant(done.stderr.replace("error: ", "").strip(), text)
            return done.stdout

        return send

    def _meant(self, said: str, request: str) -> ClientError:
        """Return the error that libvirt's text means.

        It passes an agent's error on as ``unable to execute QEMU agent command 'guest-x': why``.
        """
        command = json.loads(request)["execute"]
        _, marker, why = said.partition(f"unable to execute QEMU agent command '{command}': ")
        if marker:
            missing = "has not been found" in why or "has been disabled" in why
            return failure(command, why, "CommandNotFound" if missing else "GenericError")
        for text, kind in _MEANINGS:
            if text in said:
                return kind(f"{self._address.text}: {said}", command=command)
        return AgentUnreachable(f"{self._address.text}: {said or 'virsh failed and said nothing'}", command=command)


def _value(command: str, room: int, reply: str) -> Any:
    line = reply.encode(errors="replace")
    if len(line) > room:
        raise OutOfStep(f"{command}: libvirt returned a reply of {len(line) >> 20} MiB: refused", command=command)
    body = reading.parsed(line)
    if not isinstance(body, dict) or not body.keys() & {"return", "error"}:
        raise OutOfStep(f"{command}: libvirt returned what is not a reply: {reading.shown(reply)}", command=command)
    if "error" in body:
        raise reading.failed(command, body["error"])
    return reading.checked(command, body["return"])


def _english() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
