"""The freeze hooks: programs that prepare for a freeze, and resume after the thaw.

A hook is a program, or a directory of programs. Each is run with one argument, ``freeze`` or ``thaw``.
"""

from __future__ import annotations

import os
import re

from qga.agent.linux.host import Host
from qga.agent.linux.ownership import not_only_roots
from qga.protocol.errors import CommandError

NO_TIMEOUT = 1_000_000.0  # seconds
MAX_OUTPUT = 4096  # bytes of its output, the end, that go into an error

# What editors and package managers leave lying about, in a directory of hooks.
_LEFTOVER = re.compile(
    r"\..*|.*~|#.*#|.*[.,](bak|old|orig|rej|save|sample|swp|tmp|disabled|cfsaved|"
    r"dpkg-[a-z]+|ucf-[a-z]+|rpmnew|rpmorig|rpmsave|pacnew|pacsave)"
)


def list_hooks(host: Host, path: str) -> list[str]:
    """Return the programs in the order to run them before a freeze. Raises CommandError for what must not be run.

    Of a directory: every executable file but leftovers, by name. A ``path`` that does not exist is a program that
    cannot be run. One without a slash is a file, too, and not a name to look for in PATH.
    """
    path = os.path.join(os.getcwd(), path)
    _check(host, path)
    try:
        names = sorted(os.listdir(host.path(path)))
    except NotADirectoryError:
        hooks = [path]
    except FileNotFoundError:
        return [path]
    except OSError as error:
        raise CommandError(f"failed to list fsfreeze hooks: {path}: {error.strerror}") from error
    else:
        files = [os.path.join(path, name) for name in names if not _LEFTOVER.fullmatch(name)]
        hooks = [file for file in files if os.path.isfile(host.path(file)) and os.access(host.path(file), os.X_OK)]
    for hook in hooks:
        _check(host, hook)
    return hooks


def run_hook(host: Host, hook: str, event: str, timeout: float) -> None:
    """Run a hook; after ``timeout`` seconds, if not 0, end its whole process group. Raises CommandError."""
    outcome = host.run((hook, event), timeout=timeout or NO_TIMEOUT)
    if outcome.ok:
        return
    output = outcome.output[-MAX_OUTPUT:].decode(errors="replace")
    ended = "has terminated abnormally" if outcome.signal else "has failed to execute fsfreeze hook"
    raise CommandError(f"child process {ended}: {hook}: {outcome}{': ' if output else ''}{output}")


def _check(host: Host, path: str) -> None:
    """Raise CommandError for a hook that users other than root can change."""
    refusal = not_only_roots(host, path)
    if refusal is not None:
        raise CommandError(f"fsfreeze hook {path} is refused: {refusal}")
