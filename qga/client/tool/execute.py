"""exec: run a program in the guest, and see what it writes while it runs.

Its output goes to two files of a private directory in the guest, which guest-file-read follows: a FIFO would do with
our agent only, QEMU's loses bytes on its short reads. Without a shell in the guest it is shown at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import secrets
import sys
import time
from typing import Any

from qga.client.client import Client
from qga.client.errors import ClientError, CommandFailed
from qga.client.files import payload, placed
from qga.client.programs import PATIENCE
from qga.client.running import returncode, start
from qga.client.tool import show
from qga.client.tool.exits import HELD_TOO_LONG, UsageError
from qga.client.tool.feeding import Feeder

# The name is the tool's, and not to be guessed: so it can be removed also if ctrl-C comes before the answer.
_PREPARE = """
d=${TMPDIR:-/tmp}/$1
mkdir -m 700 "$d" && : >"$d/out" && : >"$d/err" && mkfifo "$d/in" "$d/stdin" &&
    printf %s "$d"
"""

_REMOVE = 'rm -rf -- "${TMPDIR:-/tmp}/$1"'

# The program keeps this shell's process id, and leads a group where the guest has setsid(1). Beside it, no child
# of its, is what hands stdin on as long as the tool is heard of, and removes the directory if the tool has not.
_RUN = """
d=$1 linger=$2 fed=$3; shift 3
feed() {
    while read -r n; do
        : >"$d/beat"
        case $n in
        e) exit ;;
        h) ;;
        *) cat "$d/in.$n" && rm -f "$d/in.$n" || exit ;;
        esac
    done
}
watch() {
    left=$linger
    while [ -d "$d" ] && [ "$left" -gt 0 ]; do
        sleep 1
        if kill -0 $$ && [ -z "$1" ] || rm "$d/beat"; then left=$linger; else left=$((left - 1)); fi
    done
    if [ "$1" ]; then
        kill "$1"
        watch ""
    else
        rm -rf "$d"
    fi
}
if [ "$fed" = yes ]; then
    ( (feed <>"$d/in" >"$d/stdin" & watch $!) </dev/null >/dev/null 2>&1 &)
    exec <"$d/stdin"
else
    ( (watch "") </dev/null >/dev/null 2>&1 &)
fi
read -r _ _ _ _ group _ </proc/$$/stat || group=$$
[ "$group" = $$ ] || leading=$(command -v setsid)
exec $leading "$@" >"$d/out" 2>"$d/err"
"""

# $1 a signal, $2 a process: its group if it leads one. SIGKILL two seconds later.
_END = """
p=-$2
kill -0 "$p" || p=$2
kill "-$1" "$p"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$p" || exit; sleep 0.2; done
kill -KILL "$p"
"""
_CHUNK = 48 * 1024  # bytes of one read
_CHUNKS = 16  # reads of one look: a program that writes without end must not hide its end, or the time limit
_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.25  # seconds between two looks


class Follower:
    """Writes what a growing file of the guest has got since the last look."""

    def __init__(self, client: Client, path: str, target: show.Output, chunk: int = _CHUNK) -> None:
        self._client, self._target, self._chunk = client, target, chunk
        self._offset = 0
        self._handle = client.guest_file_open(path, "r")

    def look(self) -> bool:
        """Whether there was something: as much as one look takes, and more may be left."""
        start = self._offset
        for _ in range(_CHUNKS):
            data = self._at(self._offset, self._chunk)  # QEMU's agent remembers the end without a seek
            if not data:
                break
            self._target.write(data)
            self._offset += len(data)
        if self._offset > start:
            self._target.flush()
        return self._offset > start

    def close(self) -> None:
        self._close(self._handle)

    def _at(self, offset: int, count: int = 1) -> bytes:
        """What is there, at most ``count`` bytes or a chunk."""
        count = min(count, self._chunk)
        self._client.guest_file_seek(self._handle, offset, "set")
        reply = self._client.guest_file_read(self._handle, count)
        return payload(reply.buf_b64, reply.count, count)

    def _size(self, handle: int) -> int:
        return placed(self._client.guest_file_seek(handle, 0, "end").position)

    def _close(self, handle: int) -> None:
        with contextlib.suppress(ClientError):
            self._client.guest_file_close(handle)


def execute(client: Client, options: argparse.Namespace) -> int:
    if options.tty:
        from qga.client.tool.shell import shell

        if options.stdin:
            raise UsageError("--tty and --stdin: a terminal is what is typed")
        return shell(client, options)
    environment(options.env)
    words = [*(["env", *options.env] if options.env else []), *options.words]
    name = f"qga.{secrets.token_hex(8)}"
    try:
        try:
            made = client.run(["sh", "-c", _PREPARE, "sh", name], text=True, timeout=PATIENCE)
        except CommandFailed:
            made = None
        if made is None or made.returncode or not made.stdout.startswith("/"):
            return _at_the_end(client, words, sys.stdin.buffer.read() if options.stdin else None, options.limit)
        return _live(client, made.stdout, words, options)
    finally:
        with contextlib.suppress(ClientError):
            client.run(["sh", "-c", _REMOVE, "sh", name], timeout=PATIENCE)


def environment(pairs: list[str]) -> dict[str, str]:
    """What --env says. A word without = would be a program to env(1)."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals or name.startswith("-"):
            raise UsageError(f"--env {pair!r}: expected NAME=VALUE")
        found[name] = value
    return found


def _live(client: Client, directory: str, words: list[str], options: argparse.Namespace) -> int:
    given = [directory, str(math.ceil(options.linger)), "yes" if options.stdin else "no", *words]
    limit: float | None = options.limit
    outputs = (("out", sys.stdout.buffer), ("err", sys.stderr.buffer))
    deadline = None if limit is None else time.monotonic() + limit
    pause, exited, sent = _FIRST_PAUSE, False, "TERM"
    pid = client.carry_out(start(["sh", "-c", _RUN, "sh", *given], capture_output=False))
    with contextlib.ExitStack() as stack:
        try:
            feeder = Feeder(client, directory, options.linger) if options.stdin else None
            if feeder:
                stack.callback(feeder.close)
            followers = [Follower(client, f"{directory}/{name}", target) for name, target in outputs]
            for follower in followers:
                stack.callback(follower.close)
            while True:
                if not exited:  # the end is told once; what is read after it is the rest
                    status = client.call_raw("guest-exec-status", {"pid": pid})
                    exited = status["exited"]
                looks = [follower.look() for follower in followers]
                if exited and not any(looks):
                    return ended(status)
                if deadline is not None and time.monotonic() >= deadline:
                    show.note(f"{words[0]} had not ended after {limit:g} s: it was ended")
                    return HELD_TOO_LONG
                if exited:
                    continue
                if feeder:
                    looks.append(feeder.feed(pause))
                else:
                    time.sleep(pause)
                pause = _FIRST_PAUSE if any(looks) else min(pause * 1.5, _LAST_PAUSE)
        except KeyboardInterrupt:
            sent = "INT"
            raise
        finally:
            if not exited:
                with contextlib.suppress(ClientError):
                    client.run(["sh", "-c", _END, "sh", sent, str(pid)], timeout=PATIENCE)


def ended(status: Any) -> int:
    """The status of a program that has ended, as a shell has it."""
    return exit_status(returncode(status))


def exit_status(code: int) -> int:
    """128 and the number of the signal -N that ended it; 255 for what an exit status cannot tell."""
    status = code if code >= 0 else 128 - code
    return min(status, 255)


def _at_the_end(client: Client, words: list[str], data: bytes | None, limit: float | None) -> int:
    done = client.run(words, input=data, timeout=limit)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.buffer.write(done.stderr)
    return exit_status(done.returncode)
