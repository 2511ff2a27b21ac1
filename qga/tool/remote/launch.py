"""How the far end of a terminal is started: by python3 where the guest has it, else by script of util-linux."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pybase64

from qga.tool.exits import UsageError
from qga.tool.remote import guest as ends

SEGMENT = 64 * 1024  # bytes of one output file; two of them may wait to be read

# A place that is no disk, if there is one and the agent was not told another; what makes the terminal, if it can.
PREPARE = """
for base in ${TMPDIR:+"$TMPDIR"} /run /dev/shm /tmp /var/tmp; do
    d=$(mktemp -d "$base/qga.XXXXXXXX" 2>/dev/null) && break
done
: >"$d/out.0" && : >"$d/taken" && mkfifo -m 600 "$d/in" || { rm -rf "$d"; exit 1; }
for by in $1; do
    case $by in
    python3)
        for p in python3 /usr/libexec/platform-python; do
            "$p" -c 'import contextlib, fcntl, pwd, select, struct, termios' 2>/dev/null && break 2
        done
        ;;
    script) p=$(command -v script) && break ;;
    esac
    p=
done
[ "$p" ] || rm -rf "$d"
printf '%s\\n' "$d" "$by" "$p"
"""

# What script runs: terminal.py does the same.
_LOGIN = """
umask 022
tty >{d}/tty; echo $$ >{d}/leader
stty echo iutf8 rows {rows} cols {columns}
user={user}; me=$(id -un); : "${{user:=$me}}"
entry=$(getent passwd "$user" || grep "^$user:" /etc/passwd) ||
    {{ echo "qga: the guest has no user $user"; exit 127; }}
IFS=:; set -f; set -- $entry; set +f; unset IFS
unset LANG; for file in /etc/default/locale /etc/locale.conf; do [ -r $file ] && . $file; done
export HOME="$6" SHELL="${{7:-/bin/sh}}" USER="$user" LOGNAME="$user" LANG="${{LANG:-C.UTF-8}}" PATH={path}
cd "$HOME" || cd /
{exports}
set -- {words}
[ $# -gt 0 ] || set -- "$SHELL" -l
[ "$user" = "$me" ] || set -- runuser -u "$user" -- "$@"
exec "$@"
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Wanted(NamedTuple):
    """``words`` empty: the user's login shell. ``user`` empty: the agent's, root as a rule. ``by``: python3, script.

    ``linger``: seconds that the program lives on when the tool is gone. ``size``: rows and columns.
    """

    words: Sequence[str]
    user: str
    env: Mapping[str, str]
    by: Sequence[str]
    linger: float
    size: tuple[int, int]


def how(by: str, directory: str, wanted: Wanted) -> dict[str, Any]:
    """Arguments of guest-exec for the far end."""
    first = [directory, str(math.ceil(wanted.linger)), str(SEGMENT)]
    pairs = [f"{name}={value}" for name, value in wanted.env.items()]
    rows, columns = wanted.size
    if by == "python3":
        sizes = [str(rows), str(columns)]
        words = ["-IS", "-", *first, *sizes, wanted.user, str(len(pairs)), *pairs, *wanted.words]
        text = ends.text("terminal.py")
    else:
        login = _LOGIN.format(
            d=directory,
            rows=rows,
            columns=columns,
            user=shlex.quote(wanted.user),
            path=_PATH,
            exports="".join(f"export {shlex.quote(pair)}\n" for pair in pairs),
            words=shlex.join(wanted.words),
        )
        words, text = ["-s", *first, login], ends.text("terminal.sh")
    return {"arg": words, "input-data": pybase64.b64encode_as_string(text), "capture-output": False}


def environment(pairs: list[str]) -> dict[str, str]:
    """What --env says. A word without = would be a program to env(1)."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals or name.startswith("-"):
            raise UsageError(f"--env {pair!r}: expected NAME=VALUE")
        found[name] = value
    return found
