"""Work as a user of the guest, in a child that has nothing of the agent's and gives its result through a pipe."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pwd import struct_passwd
from typing import NoReturn, TypeVar

from qga.agent.processes.child import close_all_but, fork, leave_the_agent, read_result, read_to_end, write_result
from qga.protocol.errors import CommandError

T = TypeVar("T")

DEFAULT_TIMEOUT = 60.0  # seconds; files on a server that is slow


def run_as(user: struct_passwd, work: Callable[[], T], timeout: float = DEFAULT_TIMEOUT) -> T:
    """Carry out ``work`` in a child that is this user, with the user's groups, and return its result.

    The result must suit marshal. The child has nothing of the agent's open and the umask 077; when ``timeout``
    (seconds) has passed, it is killed. Raises CommandError: the one that ``work`` raised, or why there is no result.
    """
    child, reading = fork(partial(_work_as, user, work))
    try:
        report = read_to_end(reading, timeout)
    except BaseException as error:
        os.kill(child, signal.SIGKILL)
        if not isinstance(error, TimeoutError):
            raise
        raise CommandError(f"work as user '{user.pw_name}' timed out after {timeout:g} s") from None
    finally:
        os.close(reading)
    result: T = read_result(report, f"work as user '{user.pw_name}'")
    return result


def _work_as(user: struct_passwd, work: Callable[[], T], report: int) -> NoReturn:
    """Do the work of the child: become the user, carry it out, report. Does not return."""

    def as_user() -> T:
        _become(user)
        return work()

    try:
        leave_the_agent()
        close_all_but(report)
        write_result(report, as_user)
    finally:
        os._exit(0)


def _become(user: struct_passwd) -> None:
    """Become the user for good: nothing of what the agent may do is left. The groups are of use for NFS.

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
