"""Running programs in the guest: the host starts them and fetches their status later."""

from __future__ import annotations

import os

from qga.agent.context import Context, payload_room
from qga.agent.linux.cstring import c_string, check_program
from qga.agent.linux.execvp import environment
from qga.agent.state.programs import NOTHING, Capture, Output
from qga.protocol import base64
from qga.protocol.errors import CommandError

_SEPARATED = Capture(out=True, err=True)
_CAPTURES = {
    "none": NOTHING,
    "stdout": Capture(out=True),
    "stderr": Capture(err=True),
    "separated": _SEPARATED,
    "merged": Capture(out=True, err=True, merged=True),
    False: NOTHING,
    True: _SEPARATED,
}


def guest_exec(
    ctx: Context,
    *,
    path: str,
    arg: list[str] | None = None,
    env: list[str] | None = None,
    input_data: str | None = None,
    capture_output: bool | str = False,
) -> dict[str, object]:
    """Start a program as a child of the agent and return its pid; execvp(3) describes how it is found.

    The loop reads the program's output and keeps it for guest-exec-status. Without ``env`` the program gets the
    agent's environment. If the policy checked the file, exactly that file is executed (``ctx.target``).
    """
    stdin = None if input_data is None else base64.decode(input_data)
    arguments = {"path": path, "arg": arg, "env": env, "input-data": input_data, "capture-output": capture_output}
    try:
        check_program(path, arg, env)
        argv = [c_string(text) for text in (path, *(arg or ()))]
        pid = ctx.programs.start(argv, environment(env), stdin, _CAPTURES[capture_output], ctx.target, arguments)
    except OSError as error:
        raise CommandError(f"Failed to execute child process “{path}” ({error.strerror})") from error
    return {"pid": pid}


def guest_exec_status(ctx: Context, *, pid: int) -> dict[str, object]:
    """Return a program's exit status and output, and forget it; or report that it still runs: waitpid(2).

    Each stream may use half of the room in the reply (``max-reply``), plus what the other does not use of its half.
    """
    program = ctx.programs.find(pid)
    if program is None:
        raise CommandError(f"PID {pid} does not exist")
    if program.status is None or not program.exited:
        return {"exited": False}
    ctx.programs.forget(program)
    code = os.waitstatus_to_exitcode(program.status)
    ended = {"exitcode": code} if code >= 0 else {"signal": -code}
    room = payload_room(ctx.config)
    of_out = max(room - program.err.size, room // 2)
    out = _captured("out", program.out, of_out)
    err = _captured("err", program.err, room - min(of_out, program.out.size))
    return {"exited": True, **ended, **out, **err}


def _captured(stream: str, output: Output, room: int) -> dict[str, object]:
    """Return the captured output of a stream, cut to ``room`` bytes."""
    if not output.size:
        return {}
    return {
        f"{stream}-data": base64.encode(output.data()[:room]),
        f"{stream}-truncated": output.truncated or output.size > room,
    }
