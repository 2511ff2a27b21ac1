"""Work as a user of the guest, in a child that has nothing of the agent's and gives its result through a pipe."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pwd import struct_passwd
from typing import NoReturn

from qga.errors import CommandError
from qga.processes.child import close_all_but, leave_the_agent

DEFAULT_TIMEOUT = 60.0  # seconds; files on a server that is slow
_CHUNK = 64 * 1024  # bytes read at a time
_DONE, _FAILED = b"done", b"failed"  # verdicts


def run_as(user: struct_passwd, work: Callable[[], bytes], timeout: float = DEFAULT_TIMEOUT) -> bytes:
    """Carry out ``work`` in a child that is this user, with the user's groups, and return its result.

    The child has nothing of the agent's open and the umask 077; when ``timeout`` (seconds) has passed, it is killed.
    Raises CommandError: the one that ``work`` raised, or why there is no result.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise CommandError("cannot create pipe FDs") from error
    try:
        child = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise CommandError(f"failed to create child process: {error.strerror}") from error
    if child == 0:
        _work_as(user, work, writing)
    os.close(writing)
    try:
        told = _read_to_end(reading, timeout)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        raise CommandError(f"work as user '{user.pw_name}' timed out after {timeout:g} s") from None
    finally:
        os.close(reading)
    head, _, result = told.partition(b"\n")
    verdict, _, size = head.partition(b" ")
    if size != b"%d" % len(result):  # it was killed before it had told all
        raise CommandError(f"work as user '{user.pw_name}' ended without a result")
    if verdict == _FAILED:
        raise CommandError(result.decode(errors="surrogatepass"))
    return result


def _work_as(user: struct_passwd, work: Callable[[], bytes], report: int) -> NoReturn:
    """The child: become the user, work, tell verdict, length and result. Does not return."""
    try:
        leave_the_agent()
        close_all_but(report)
        verdict, result = _DONE, b""
        try:
            _become(user)
            result = work()
        except CommandError as error:
            verdict, result = _FAILED, str(error).encode(errors="surrogatepass")
        except Exception as error:
            text = f"internal error: {type(error).__name__}: {error}"
            verdict, result = _FAILED, text.encode(errors="surrogatepass")
        with open(report, "wb") as pipe:
            pipe.write(b"%s %d\n%s" % (verdict, len(result), result))
    finally:
        os._exit(0)


def _become(user: struct_passwd) -> None:
    """For good, and all of it: nothing of what the agent may do is left. The groups are of use for NFS.

    The kernel lets no other process of the user look into one that was root: prctl(2), PR_SET_DUMPABLE.
    """
    os.umask(0o077)
    if os.getresuid() == (user.pw_uid,) * 3:
        return
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(*(user.pw_gid,) * 3)
        os.setresuid(*(user.pw_uid,) * 3)
    except OSError as error:
        raise CommandError(f"cannot become user '{user.pw_name}': {error.strerror}") from error


def _read_to_end(descriptor: int, timeout: float) -> bytes:
    """Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    told = bytearray()
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(descriptor, _CHUNK)
        if not data:
            return bytes(told)
        told += data
    raise TimeoutError
