"""The handlers of a fake guest: the agent's own over files and programs of a test, and a fake freeze."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

from qga.agent.commands import exec, file, fsfreeze, session  # noqa: A004  the area's name
from qga.agent.config import defaults
from qga.agent.context import Context
from qga.agent.linux.pathwalk import Target
from qga.agent.policy import Policy
from qga.agent.state.freeze import FreezeState
from qga.agent.state.freezer import Freezer
from qga.agent.state.handles import FileTable
from qga.agent.state.programs import NOTHING, Capture, Program, Programs
from qga.protocol.schema import Schema

Answer = Callable[..., Any]
Function = Callable[[list[str], bytes], tuple[int, bytes, bytes]]


class Files(MutableMapping[str, "bytes | bytearray"]):
    """The files of a fake guest, content by path. Each is a file in a directory of this machine."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._places: dict[str, Path] = {}

    def place(self, path: str) -> Path:
        """Return the file of this machine that has the content of a path, or would have it."""
        return self._places.setdefault(path, self._directory / str(len(self._places)))

    def __getitem__(self, path: str) -> bytes:
        if not self.place(path).exists():
            raise KeyError(path)
        return self.place(path).read_bytes()

    def __setitem__(self, path: str, content: bytes | bytearray) -> None:
        self.place(path).write_bytes(content)

    def __delitem__(self, path: str) -> None:
        self.place(path).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path for path, place in self._places.items() if place.exists())

    def __len__(self) -> int:
        return len(list(self))


class _Handles(FileTable):
    def __init__(self, files: Files) -> None:
        super().__init__()
        self._content = files

    def open(self, path: str, mode: str, target: Target | None = None) -> int:
        target = Target()
        target.path, target.name = path, os.fsencode(self._content.place(path))
        return super().open(path, mode, target)


class _Programs(Programs):
    """The programs of a fake guest: functions, which have ended when guest-exec returns."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        self._ended: list[Program | None] = []  # by pid, from 1

    def start(
        self,
        argv: list[bytes],
        env: Mapping[bytes, bytes],
        stdin: bytes | None = None,
        capture: Capture = NOTHING,
        *args: Any,
        **kwargs: Any,
    ) -> int:
        name, *arguments = map(os.fsdecode, argv)
        if name not in self._functions:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        code, out, err = self._functions[name](arguments, stdin or b"")
        program = Program({})
        program.pid, program.status = len(self._ended) + 1, code << 8  # as of waitpid(2)
        if capture.out:
            program.out.add(out, sys.maxsize)
        if capture.err:
            (program.out if capture.merged else program.err).add(err, sys.maxsize)
        self._ended.append(program)
        return program.pid

    def find(self, pid: int) -> Program | None:
        return self._ended[pid - 1] if 0 < pid <= len(self._ended) else None

    def forget(self, program: Program) -> None:
        self._ended[program.pid - 1] = None


class _Freezer(Freezer):
    """The state of a freeze; no filesystem of this machine is frozen."""

    def __init__(self) -> None:
        self.state = FreezeState()


class FakeContext(Context):
    """The context of a fake guest: what the handlers use, and nothing else."""

    def __init__(self, schema: Schema, files: Files, functions: Mapping[str, Function]) -> None:
        self.schema, self.config, self.target = schema, defaults(), None
        self.files, self.programs, self.freezer = _Handles(files), _Programs(functions), _Freezer()
        self.policy = Policy(while_frozen=schema.allowed_while_frozen)
        self.freezer.state.subscribe(self.policy.on_freeze)


def answers(ctx: Context, filesystems: Callable[[], int]) -> dict[str, Answer]:
    """Return the commands that work in a fake guest, each with a function of its arguments.

    ``filesystems`` returns how many a freeze freezes. Every other command of the schema returns its ``least`` value.
    """

    state = ctx.freezer.state

    def freeze(mountpoints: list[str] | None = None) -> int:
        count = filesystems() if mountpoints is None else min(filesystems(), len(mountpoints))
        state.freeze()
        if not count:
            state.nothing_frozen(hooks=False)
        return count

    def thaw() -> int:
        count = filesystems() if state.frozen else 0
        state.thaw()
        return count

    real = {
        name: handler
        for module in (session, file, exec)
        for name, handler in vars(module).items()
        if name.startswith("guest_")
    }
    return {
        **{name.replace("_", "-"): partial(handler, ctx) for name, handler in real.items()},
        "guest-get-time": lambda: time.time_ns() // 1000 * 1000,
        "guest-fsfreeze-status": partial(fsfreeze.guest_fsfreeze_status, ctx),
        "guest-fsfreeze-freeze": freeze,
        "guest-fsfreeze-freeze-list": freeze,
        "guest-fsfreeze-thaw": thaw,
    }


def least(shape: Mapping[str, Any]) -> Any:
    """Return the least value of a shape: zero, nothing, the first word of an enum, required members only."""
    if "enum" in shape:
        return shape["enum"][0]
    for choice in ("oneOf", "anyOf"):
        if choice in shape:
            return least(shape[choice][0])
    if shape["type"] == "object":
        return {name: least(shape["properties"][name]) for name in shape.get("required", ())}
    return {"array": [], "string": "", "boolean": False, "integer": 0, "number": 0.0}[shape["type"]]
