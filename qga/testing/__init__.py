"""A guest that is none, for tests of host software: a pytest plugin whose fixtures speak a guest agent's protocol.

    def test_backup(fake_guest):
        fake_guest.answer("guest-get-osinfo", {"id": "debian"})
        fake_guest.fault("guest-fsfreeze-freeze", delay=10)
        my_backup(fake_guest.address)
        assert "guest-fsfreeze-thaw" in fake_guest.commands

``fake_guest`` listens on a unix socket, ``fake_serial_guest`` on a pseudo-terminal. Requests are held to the
schema, and so are canned answers, so that a test cannot agree with itself about what no agent says. Freezing, files
and the clock work as in a guest, without one; every other command answers the least that the schema allows, until
told otherwise.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import pytest

from qga.protocol import base64, schema, wire
from qga.protocol.errors import CommandError, CommandNotFound, QgaError, RequestError
from qga.protocol.validate import first_complaint

Answer = Callable[..., Any]

_WHENCE = {0: "set", 1: "cur", 2: "end"}


@dataclass
class Fault:
    """What goes wrong, the next ``times`` times that the command comes (any command, if None)."""

    command: str | None
    delay: float = 0.0  # seconds before the answer
    drop: bool = False  # carry it out, and never answer
    garbage: bytes = b""  # sent before the answer
    disconnect: bool = False  # close the connection instead of answering
    error: str = ""  # answer this error
    times: int = 1


class FakeGuest:
    """Serves one client at a time, from a thread. ``address``: for ``qga.client``; ``path``: for others.

    ``requests``: what came, as (command, arguments). ``files``: path to content. ``frozen``: whether filesystems are.
    ``programs``: what guest-exec finds: name to function of arguments and input; it returns status, output, errors.
    """

    def __init__(self, *, serial: bool = False) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytearray] = {}
        self.programs: dict[str, Callable[[list[str], bytes], tuple[int, bytes, bytes]]] = {}
        self.frozen = False
        self.filesystems = 1
        self._schema = schema.load()
        self._validators = {name: command.validator() for name, command in self._schema.commands.items()}
        self._answers: dict[str, Answer] = {
            name.removeprefix("_").replace("_", "-"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_guest_")
        }
        self._blocked: set[str] = set()
        self._faults: list[Fault] = []
        self._handles: dict[int, tuple[str, int]] = {}
        self._ended: dict[int, dict[str, Any]] = {}
        self._last_handle = 999
        self._last_pid = 0
        self._serial = serial
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fake-guest", daemon=True)

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="fake-guest-")
        if self._serial:
            self._master, self._slave = os.openpty()
            tty.setraw(self._slave)
            self.path = os.ttyname(self._slave)
            self.address = f"serial:{self.path}"
        else:
            self.path = os.path.join(self._directory.name, "agent.sock")
            self.address = f"unix:{self.path}"
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self.path)
            self._listener.listen(4)
            self._listener.settimeout(0.05)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        if self._serial:
            os.close(self._master)
            os.close(self._slave)
        else:
            self._listener.close()
        self._directory.cleanup()

    @property
    def commands(self) -> list[str]:
        """The names of what came, without the synchronising."""
        return [name for name, _ in self.requests if not self._is_sync(name)]

    def answer(self, command: str, value: Any) -> None:
        """What a command returns from now on: a value, or a function of its arguments (``buf_b64`` for buf-b64).

        The function may raise CommandError. Raises ValueError for what the schema does not allow.
        """
        if command not in self._schema.commands:
            raise ValueError(f"the schema has no command {command}")
        if not callable(value):
            self._check(command, value)
        self._answers[command] = value if callable(value) else lambda **_: value

    def block(self, *commands: str) -> None:
        """As an agent whose configuration does not allow them."""
        self._blocked.update(commands)

    def fault(self, command: str | None = None, **what: Any) -> None:
        """Something that goes wrong once, or ``times`` times: ``Fault`` has the kinds."""
        self._faults.append(Fault(command, **what))

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if self._serial:
                self._converse(self._master)
                continue
            try:
                peer, _ = self._listener.accept()
            except TimeoutError:
                continue
            with peer:
                peer.setblocking(False)
                self._converse(peer.fileno())

    def _converse(self, descriptor: int) -> None:
        """Until the peer leaves, or a fault throws it out."""
        decoder = wire.Decoder()
        with contextlib.suppress(OSError):
            while not self._stopping.is_set():
                if not select.select([descriptor], [], [], 0.05)[0]:
                    continue
                data = os.read(descriptor, 1 << 20)
                if not data:
                    return
                for request in decoder.feed(data):
                    if not self._respond(descriptor, request):
                        return

    def _respond(self, descriptor: int, request: object) -> bool:
        """False to hang up."""
        name = request.get("execute") if isinstance(request, dict) else None
        fault = self._fault_of(name)
        reply, delimited, silent = self._reply(request, fault)
        if fault is not None:
            self._stopping.wait(fault.delay)
            if fault.disconnect:
                return False
            if fault.garbage:
                self._send(descriptor, fault.garbage)
            if fault.drop:
                return True
        if not silent:
            self._send(descriptor, wire.encode(reply, delimited=delimited))
        return True

    def _reply(self, request: object, fault: Fault | None) -> tuple[dict[str, Any], bool, bool]:
        """The reply, whether 0xFF comes before it, and whether there is none."""
        reply: dict[str, Any] = {"id": request["id"]} if isinstance(request, dict) and "id" in request else {}
        delimited = silent = False
        try:
            name, arguments = self._checked(request)
            self.requests.append((name, arguments))
            if fault is not None and fault.error:
                raise CommandError(fault.error)
            if name in self._blocked or (self.frozen and not self._schema.commands[name].allow_frozen):
                raise CommandNotFound(f"Command {name} has been disabled: the command is not allowed")
            value = self._value(name, arguments)
            reply["return"] = {} if value is None else value
            delimited, silent = (
                self._schema.commands[name].delimited,
                not self._schema.commands[name].success_response,
            )
        except QgaError as error:
            reply["error"] = error.wire()
        return reply, delimited, silent

    def _checked(self, request: object) -> tuple[str, dict[str, Any]]:
        if isinstance(request, RequestError):
            raise request
        if not isinstance(request, dict) or not isinstance(request.get("execute"), str):
            raise RequestError("QMP input must be a JSON object with a member 'execute'")
        name, arguments = request["execute"], request.get("arguments", {})
        if name not in self._validators:
            raise CommandNotFound(f"The command {name} has not been found")
        self._validators[name](arguments)
        return name, arguments

    def _value(self, name: str, arguments: Mapping[str, Any]) -> Any:
        answer = self._answers.get(name)
        if answer is None:
            returns = self._schema.commands[name].returns
            return {} if returns is None else _least(self._schema.type(returns))
        return answer(**{member.replace("-", "_"): value for member, value in arguments.items()})

    def _check(self, command: str, value: Any) -> None:
        returns = self._schema.commands[command].returns
        shape = {"type": "object", "maxProperties": 0} if returns is None else self._schema.type(returns)
        complaint = first_complaint(shape, value)
        if complaint is not None:
            raise ValueError(f"{command} cannot return this: {complaint}")

    def _fault_of(self, name: object) -> Fault | None:
        for fault in self._faults:
            if fault.times and (fault.command == name or (fault.command is None and not self._is_sync(name))):
                fault.times -= 1
                return fault
        return None

    def _is_sync(self, name: object) -> bool:
        return name in ("guest-sync", "guest-sync-delimited")

    def _send(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._stopping.is_set():
            if select.select([], [descriptor], [], 0.05)[1]:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(descriptor, rest[: 64 * 1024]) :]

    # What works without being told: each is the answer of a command of its name.

    def _guest_sync(self, id: int) -> int:  # noqa: A002
        return id

    _guest_sync_delimited = _guest_sync

    def _guest_info(self) -> dict[str, Any]:
        allowed = {c.name: c.allow_frozen or not self.frozen for c in self._schema.commands.values()}
        return {
            "version": schema.INTERFACE_VERSION,
            "supported_commands": [
                {
                    "name": command.name,
                    "enabled": allowed[command.name] and command.name not in self._blocked,
                    "success-response": command.success_response,
                }
                for command in self._schema.commands.values()
            ],
        }

    def _guest_get_time(self) -> int:
        return time.time_ns()

    def _guest_fsfreeze_status(self) -> str:
        return "frozen" if self.frozen else "thawed"

    def _guest_fsfreeze_freeze(self) -> int:
        self.frozen = True
        return self.filesystems

    def _guest_fsfreeze_freeze_list(self, mountpoints: list[str] | None = None) -> int:
        self.frozen = True
        return self.filesystems if mountpoints is None else min(self.filesystems, len(mountpoints))

    def _guest_fsfreeze_thaw(self) -> int:
        was, self.frozen = self.frozen, False
        return self.filesystems if was else 0

    def _guest_file_open(self, path: str, mode: str = "r") -> int:
        if mode.startswith("r") and path not in self.files:
            raise CommandError(f"failed to open file '{path}' (mode: '{mode}'): No such file or directory")
        if mode.startswith("w"):
            self.files[path] = bytearray()
        content = self.files.setdefault(path, bytearray())
        self._last_handle += 1
        self._handles[self._last_handle] = (path, len(content) if mode.startswith("a") else 0)
        return self._last_handle

    def _guest_file_close(self, handle: int) -> None:
        self._place(handle)
        del self._handles[handle]

    def _guest_file_flush(self, handle: int) -> None:
        self._place(handle)

    def _guest_file_read(self, handle: int, count: int = 4096) -> dict[str, Any]:
        path, at = self._place(handle)
        data = bytes(self.files[path][at : at + count])
        self._handles[handle] = (path, at + len(data))
        return {"count": len(data), "buf-b64": base64.encode(data), "eof": len(data) < count}

    def _guest_file_write(self, handle: int, buf_b64: str, count: int | None = None) -> dict[str, Any]:
        path, at = self._place(handle)
        data = base64.decode(buf_b64)[:count]
        content = self.files[path]
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data
        self._handles[handle] = (path, at + len(data))
        return {"count": len(data), "eof": False}

    def _guest_file_seek(self, handle: int, offset: int, whence: int | str) -> dict[str, Any]:
        path, at = self._place(handle)
        name = _WHENCE.get(whence) if isinstance(whence, int) else whence
        bases = {"set": 0, "cur": at, "end": len(self.files[path])}
        if name not in bases:
            raise CommandError(f"invalid whence code {whence}")
        if bases[name] + offset < 0:
            raise CommandError("failed to seek file: Invalid argument")
        self._handles[handle] = (path, bases[name] + offset)
        return {"position": bases[name] + offset, "eof": False}

    def _guest_exec(self, path: str, arg: list[str] | None = None, **options: Any) -> dict[str, Any]:
        if path not in self.programs:
            raise CommandError(f"Failed to execute child process “{path}” (No such file or directory)")
        code, out, err = self.programs[path](arg or [], base64.decode(options.get("input_data", "")))
        status: dict[str, Any] = {"exited": True, "exitcode": code}
        if options.get("capture_output"):
            streams = {"out-data": out, "err-data": err}
            status.update({name: base64.encode(data) for name, data in streams.items() if data})
        self._last_pid += 1
        self._ended[self._last_pid] = status
        return {"pid": self._last_pid}

    def _guest_exec_status(self, pid: int) -> dict[str, Any]:
        if pid not in self._ended:
            raise CommandError(f"PID {pid} does not exist")
        return self._ended.pop(pid)

    def _place(self, handle: int) -> tuple[str, int]:
        if handle not in self._handles:
            raise CommandError(f"handle '{handle}' has not been found")
        return self._handles[handle]


def _least(shape: Mapping[str, Any]) -> Any:
    """The least value of a shape: zero, nothing, the first word, required members only."""
    if "enum" in shape:
        return shape["enum"][0]
    for choice in ("oneOf", "anyOf"):
        if choice in shape:
            return _least(shape[choice][0])
    if shape["type"] == "object":
        return {name: _least(shape["properties"][name]) for name in shape.get("required", ())}
    return {"array": [], "string": "", "boolean": False, "integer": 0, "number": 0.0}[shape["type"]]


@pytest.fixture
def fake_guest() -> Iterator[FakeGuest]:
    """A guest whose agent's port is a unix socket."""
    with FakeGuest() as guest:
        yield guest


@pytest.fixture
def fake_serial_guest() -> Iterator[FakeGuest]:
    """A guest whose agent's port is a serial line: a pseudo-terminal."""
    with FakeGuest(serial=True) as guest:
        yield guest
