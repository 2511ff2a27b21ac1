"""Run a program of the guest to its end, as ``subprocess.run`` does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from typing import Any

import pybase64

from qga.client.errors import AgentTimeout, ClientError, MalformedReply
from qga.client.operations import quoting
from qga.client.operations.requests import Ask, Pause, Steps
from qga.client.payload import decoded

FIRST_PAUSE, LAST_PAUSE = 0.002, 0.25  # seconds between two looks: each is longer, so short programs are soon done
KILLED = 2.0  # seconds for a killed program to be gone


class Completed(subprocess.CompletedProcess[Any]):
    """``truncated``: whether output is missing at the end. A program that signal N ended has returncode -N."""

    truncated = False


def run(
    argv: list[str],
    data: bytes | str | None,
    env: Mapping[str, str] | None,
    timeout: float | None,
    *,
    capture_output: bool,
    text: bool,
) -> Steps[Completed]:
    pid = yield from start(argv, data, env, timeout, capture_output=capture_output)
    try:
        status = yield from wait(argv[0], pid, timeout)
    except AgentTimeout:
        yield from kill(pid)
        raise
    return _completed(argv, status, capture_output=capture_output, text=text)


def start(
    argv: list[str],
    data: bytes | str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    *,
    capture_output: bool = True,
) -> Steps[int]:
    """Its pid. Words may be any bytes that a program can be given; where they are not UTF-8, it takes a sh there."""
    if not argv:
        raise ValueError("argv is empty: expected a program")
    path, *words = quoting.sayable(argv)
    arguments: dict[str, Any] = {"path": path, "arg": words, "capture-output": capture_output}
    if env is not None:
        arguments["env"] = [f"{name}={value}" for name, value in env.items()]
    if data is not None:
        raw = data.encode() if isinstance(data, str) else data
        arguments["input-data"] = pybase64.b64encode_as_string(raw)
    pid: int = (yield Ask("guest-exec", arguments, timeout))["pid"]
    if pid <= 0:  # kill(1) would take it for every process, or for a group
        raise MalformedReply("guest-exec", f"pid: expected more than 0, got {pid}")
    return pid


def wait(name: str, pid: int, timeout: float | None) -> Steps[dict[str, Any]]:
    """The guest-exec-status that says that it has ended. Raises AgentTimeout, and leaves it running."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        status: dict[str, Any] = yield Ask("guest-exec-status", {"pid": pid})
        if status["exited"]:
            return status
        if deadline is not None and time.monotonic() >= deadline:
            raise AgentTimeout(f"{name} had not ended after {timeout:g} s", command="guest-exec")
        yield Pause(pause if deadline is None else min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, LAST_PAUSE)


def kill(pid: int) -> Steps[None]:
    """As far as it goes: the guest may not have kill(1), and the agent may be what hangs."""
    try:
        killer = yield Ask("guest-exec", {"path": "kill", "arg": ["-KILL", str(pid)]}, KILLED)
        for asked in (killer["pid"], pid):
            for _ in range(4):
                if (yield Ask("guest-exec-status", {"pid": asked}, KILLED))["exited"]:
                    break
                yield Pause(KILLED / 20)
    except ClientError:
        pass


def checked(done: Completed, *, check: bool) -> Completed:
    if check:
        done.check_returncode()
    return done


def _completed(argv: list[str], status: Mapping[str, Any], *, capture_output: bool, text: bool) -> Completed:
    out: Any = None
    err: Any = None
    if capture_output:
        out, err = (output(status, name) for name in ("out-data", "err-data"))
        if text:
            out, err = out.decode(errors="replace"), err.decode(errors="replace")
    done = Completed(argv, returncode(status), out, err)
    done.truncated = bool(status.get("out-truncated") or status.get("err-truncated"))
    return done


def output(status: Mapping[str, Any], name: str) -> bytes:
    """What a program wrote, as the guest-exec-status of its end has it."""
    return decoded(status.get(name, ""), "guest-exec-status", name)


def returncode(status: Mapping[str, Any]) -> int:
    """As subprocess has it: -N for a program that signal N ended. Windows has statuses of 32 bits."""
    if "exitcode" in status:
        if not 0 <= status["exitcode"] < 1 << 32:
            raise MalformedReply("guest-exec-status", f"exitcode: expected 0 or more, got {status['exitcode']}")
        return int(status["exitcode"])
    if not 0 < status.get("signal", 0) < 1 << 32:
        raise MalformedReply("guest-exec-status", "expected an exitcode, or a signal, of a program that has ended")
    return -int(status["signal"])
