"""The fake guest: the agent's session and dispatcher on a socket or a terminal of this machine."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
import tty
from typing import Any, Self

from qga.agent.session import Session
from qga.protocol import schema
from qga.protocol.validate import first_complaint
from qga.testing.faults import Fault, FaultyDispatcher
from qga.testing.handlers import FakeContext, Files, Function, answers

_PAUSE = 0.05  # seconds until the thread notices that it has to end


class FakeGuest:
    """A fake guest, whose thread serves one client at a time, at ``address`` for ``qga.client``, ``path`` for others.

    ``requests`` are those that came, as (command, arguments). ``files`` maps paths to contents, to read and assign.
    ``programs`` maps the names that guest-exec finds to functions of arguments and input, which return exit status,
    output and errors. ``filesystems`` is how many a freeze freezes.
    """

    def __init__(self, *, serial: bool = False) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="fake-guest-")
        self.files = Files(self._directory.name)
        self.programs: dict[str, Function] = {}
        self.filesystems = 1
        self._schema = schema.load()
        self._context = FakeContext(self._schema, self.files, self.programs)
        self._answers = answers(self._context, lambda: self.filesystems)
        self._dispatcher = FaultyDispatcher(self._context, self._answers)
        self.requests = self._dispatcher.requests
        self._stopping = self._dispatcher.stopping
        self._blocked: set[str] = set()
        self._serial = serial
        self._thread = threading.Thread(target=self._serve, name="fake-guest", daemon=True)

    def __enter__(self) -> Self:
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
            self._listener.settimeout(_PAUSE)
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
        for handle, _file in self._context.files.opened():
            self._context.files.close(handle)
        self._directory.cleanup()

    @property
    def commands(self) -> list[str]:
        """The names of the commands that came, in order, without those that synchronise."""
        return [name for name, _ in self.requests if not self._schema.commands[name].sync]

    @property
    def frozen(self) -> bool:
        """Whether filesystems are frozen; may be set."""
        return self._context.freezer.state.frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        (self._context.freezer.state.freeze if frozen else self._context.freezer.state.thaw)()

    def answer(self, command: str, value: Any) -> None:
        """Set what a command returns: a value, or a function of its arguments (``buf_b64`` for buf-b64).

        The function may raise CommandError. Raises ValueError for what the schema does not allow.
        """
        if command not in self._schema.commands:
            raise ValueError(f"the schema has no command {command}")
        if callable(value):
            self._answers[command] = value
            return
        returns = self._schema.commands[command].returns
        shape = {"type": "object", "maxProperties": 0} if returns is None else self._schema.type(returns)
        complaint = first_complaint(shape, value)
        if complaint is not None:
            raise ValueError(f"{command} cannot return this: {complaint}")
        self._answers[command] = lambda **_: value

    def block(self, *commands: str) -> None:
        """Refuse commands from now on, as an agent does whose configuration blocks them."""
        self._blocked.update(commands)
        self._context.policy.configure((), self._blocked, rules=None)

    def fault(self, command: str | None = None, **what: Any) -> None:
        """Make something go wrong once, or ``times`` times; ``Fault`` has the kinds."""
        self._dispatcher.faults.append(Fault(command, **what))

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if self._serial:
                self._converse(self._master)
                continue
            with contextlib.suppress(TimeoutError):
                peer, _ = self._listener.accept()
                with peer:
                    peer.setblocking(False)
                    self._converse(peer.fileno())

    def _converse(self, descriptor: int) -> None:
        """Serve a peer until it leaves, or a fault hangs up."""
        session = Session(self._dispatcher)
        with contextlib.suppress(OSError):
            while not self._stopping.is_set():
                if not select.select([descriptor], [], [], _PAUSE)[0]:
                    continue
                data = os.read(descriptor, 1 << 20)
                if not data:
                    return
                session.receive(data)
                while (reply := session.next_reply()) is not None:
                    self._send(descriptor, reply)

    def _send(self, descriptor: int, reply: bytes) -> None:
        rest = memoryview(reply)
        while rest and not self._stopping.is_set():
            if select.select([], [descriptor], [], _PAUSE)[1]:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(descriptor, rest[: 64 * 1024]) :]
