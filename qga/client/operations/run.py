"""Run a program of the guest to its end, as ``subprocess.run`` does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping
from typing import Any

from qga.client import quoting
from qga.client.errors import AgentTimeout, ClientError, MalformedReply
from qga.client.operations.requests import Ask, Pause
from qga.client.payload import decoded
from qga.protocol import base64

FIRST_PAUSE, LAST_PAUSE = 0.002, 0.25  # seconds between two looks: each is longer, so short programs are soon done
KILLED = 2.0  # seconds for a killed program to be gone


class Completed(subprocess.CompletedProcess[Any]):
    """``truncated``: whether output is missing at the end. A program that signal N ended has returncode -N."""

    truncated = False


async def run(
    argv: Iterable[str],
    *,
    input: bytes | str | None = None,  # noqa: A002  subprocess.run's name
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    capture_output: bool = True,
    check: bool = False,
    text: bool = False,
) -> Completed:
    """Run a program in the guest and wait for it, as ``subprocess.run``.

    ``env`` is its whole environment. After ``timeout`` seconds (none by default) it is killed, where the guest has
    kill(1), and AgentTimeout raised. Output beyond 16 MiB of a stream is lost: ``truncated`` says so.
    """
    words = _words(argv)
    pid = await start(words, input, env, timeout, capture_output=capture_output)
    try:
        status = await wait(words[0], pid, timeout)
    except AgentTimeout:
        await kill(pid)
        raise
    done = _completed(words, status, capture_output=capture_output, text=text)
    if check:
        done.check_returncode()
    return done


async def start(
    argv: Iterable[str],
    data: bytes | str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    *,
    capture_output: bool = True,
) -> int:
    """Start a program and return its pid.

    Words may be any bytes that a program can be given; where they are not UTF-8, it takes a sh there.
    """
    path, *words = quoting.sayable(_words(argv))
    arguments: dict[str, Any] = {"path": path, "arg": words, "capture-output": capture_output}
    if env is not None:
        arguments["env"] = [f"{name}={value}" for name, value in env.items()]
    if data is not None:
        raw = data.encode() if isinstance(data, str) else data
        arguments["input-data"] = base64.encode(raw)
    started: dict[str, int] = await Ask("guest-exec", arguments, timeout)
    pid = started["pid"]
    if pid <= 0:  # kill(1) would take it for every process, or for a group
        raise MalformedReply("guest-exec", f"pid: expected more than 0, got {pid}")
    return pid


async def wait(name: str, pid: int, timeout: float | None) -> dict[str, Any]:
    """Return the guest-exec-status that says that it has ended. Raises AgentTimeout, and leaves it running."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        status: dict[str, Any] = await Ask("guest-exec-status", {"pid": pid})
        if status["exited"]:
            return status
        if deadline is not None and time.monotonic() >= deadline:
            raise AgentTimeout(f"{name} had not ended after {timeout:g} s", command="guest-exec")
        await Pause(pause if deadline is None else min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, LAST_PAUSE)


async def kill(pid: int) -> None:
    """End a program by SIGKILL, as far as possible.

    The guest may not have kill(1), and the agent itself may be what hangs: no error is raised.
    """
    try:
        killer: dict[str, int] = await Ask("guest-exec", {"path": "kill", "arg": ["-KILL", str(pid)]}, KILLED)
        for one in (killer["pid"], pid):
            for _ in range(4):
                status: dict[str, Any] = await Ask("guest-exec-status", {"pid": one}, KILLED)
                if status["exited"]:
                    break
                await Pause(KILLED / 20)
    except ClientError:
        pass


def output(status: Mapping[str, Any], name: str) -> bytes:
    """Return what a program wrote, as the guest-exec-status of its end has it."""
    return decoded(status.get(name, ""), "guest-exec-status", name)


def returncode(status: Mapping[str, Any]) -> int:
    """Return the exit status as subprocess has it: -N for a program that signal N ended.

    Windows has statuses of 32 bits. Raises MalformedReply.
    """
    if "exitcode" in status:
        if not 0 <= status["exitcode"] < 1 << 32:
            raise MalformedReply("guest-exec-status", f"exitcode: expected 0 or more, got {status['exitcode']}")
        return int(status["exitcode"])
    if not 0 < status.get("signal", 0) < 1 << 32:
        raise MalformedReply("guest-exec-status", "expected an exitcode, or a signal, of a program that has ended")
    return -int(status["signal"])


def _words(argv: Iterable[str]) -> list[str]:
    if isinstance(argv, str):
        raise TypeError(
            f"argv: expected a list of words, not the text {argv!r}: "
            f"write {argv.split()!r}, or ['sh', '-c', {argv!r}] for a shell to read it"
        )
    words = list(argv)
    if not words:
        raise ValueError("argv is empty: expected a program")
    return words


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
