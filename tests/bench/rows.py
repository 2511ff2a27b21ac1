"""The benchmark's rows: what is timed, and the ratio to reach. Requests are prepared, then only exchanged."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.bench.client import Client, request

KIB, MIB = 1 << 10, 1 << 20
POLL = 0.0005  # seconds between two polls of a program that runs for long

Run = Callable[[], None]


@dataclass(frozen=True)
class Row:
    """``prepare`` makes, for a client, what is timed: something done ``count`` times.

    ``target``: times as fast as the reference. ``payload``: bytes each time, for a rate. ``floor``: what part of the
    floor's speed, where the floor can do it.
    """

    name: str
    target: float
    prepare: Callable[[Client, int], Run]
    count: int
    payload: int = 0
    floor: float = 0


def _times(client: Client, count: int, one: bytes, before: bytes | None = None) -> Run:
    def run() -> None:
        if before is not None:
            client.exchange(before)
        for _ in range(count):
            client.exchange(one)

    return run


def _command(name: str, client: Client, count: int) -> Run:
    return _times(client, count, request(name))


def _rewind(handle: int) -> bytes:
    return request("guest-file-seek", handle=handle, offset=0, whence=0)


def _pipelined(client: Client, count: int) -> Run:
    return partial(client.pipeline, request("guest-ping") * count, count)


def _write(size: int, client: Client, count: int) -> Run:
    handle = client.ask("guest-file-open", path=f"{client.directory}/written", mode="w")
    data = base64.b64encode(os.urandom(size)).decode()
    return _times(client, count, request("guest-file-write", handle=handle, buf_b64=data), _rewind(handle))


def _read(size: int, client: Client, count: int) -> Run:
    path = f"{client.directory}/read"
    client.make_file(path, size * count)
    handle = client.ask("guest-file-open", path=path, mode="r")
    return _times(client, count, request("guest-file-read", handle=handle, count=size), _rewind(handle))


def _exec(argv: tuple[str, ...], pause: float, client: Client, count: int) -> Run:
    start = request("guest-exec", path=argv[0], arg=argv[1:], capture_output=len(argv) > 1)

    def run() -> None:
        for _ in range(count):
            pid = client.ask_prepared(start)["pid"]
            status = request("guest-exec-status", pid=pid)
            while not client.has_exited(status):
                time.sleep(pause)

    return run


def _commands(target: float, count: int, *names: str) -> list[Row]:
    return [Row(name, target, partial(_command, name), count) for name in names]


ROWS = [
    Row("guest-ping", 1.0, partial(_command, "guest-ping"), 3000, floor=1 / 1.25),
    Row("guest-get-time", 1.0, partial(_command, "guest-get-time"), 3000),
    Row("guest-ping, 2,000 at once", 3.0, _pipelined, 2000),
    Row("guest-file-write 64 KiB", 10.0, partial(_write, 64 * KIB), 100, 64 * KIB),
    Row("guest-file-write 1 MiB", 12.0, partial(_write, MIB), 16, MIB, floor=1 / 6),
    Row("guest-file-write 8 MiB", 8.0, partial(_write, 8 * MIB), 3, 8 * MIB),
    Row("guest-file-read 64 KiB", 10.0, partial(_read, 64 * KIB), 100, 64 * KIB),
    Row("guest-file-read 1 MiB", 10.0, partial(_read, MIB), 16, MIB, floor=1 / 3),
    Row("guest-file-read 8 MiB", 6.0, partial(_read, 8 * MIB), 3, 8 * MIB),
    Row("guest-exec /bin/true, collected", 1.0, partial(_exec, ("/bin/true",), 0.0), 30),
    Row("guest-exec, 12 MB of output", 2.0, partial(_exec, ("head", "-c", "12000000", "/dev/zero"), POLL), 2),
    *_commands(1.0, 300, "guest-info", "guest-get-vcpus", "guest-get-osinfo", "guest-get-fsinfo"),
    *_commands(1.0, 300, "guest-get-cpustats", "guest-get-diskstats", "guest-network-get-interfaces"),
]

# Without orjson, pybase64 and fastjsonschema.
PLAIN = [
    Row("guest-ping, without accelerators", 0.6, partial(_command, "guest-ping"), 3000),
    Row("guest-file-write 1 MiB, without accelerators", 1.0, partial(_write, MIB), 16, MIB),
    Row("guest-file-read 1 MiB, without accelerators", 1.0, partial(_read, MIB), 16, MIB),
]

# Over virtio-serial, in a guest whose processor is emulated.
IN_GUEST = [
    Row("guest-ping in a guest", 1.0, partial(_command, "guest-ping"), 300),
    Row("guest-file-write 1 MiB in a guest", 4.0, partial(_write, MIB), 4, MIB),
    Row("guest-file-read 1 MiB in a guest", 1.2, partial(_read, MIB), 4, MIB),
]

# What a policy costs that looks at paths, arguments and environment.
POLICY = """default = "deny"
[[rule]]
allow = ["guest-ping", "guest-get-*"]
[[rule]]
allow = ["guest-file-open"]
path = ["/etc/**"]
mode = ["r"]
[[rule]]
allow = ["guest-exec"]
path = ["/usr/bin/true"]
arg = [["--version"], []]
env = []
"""
RULED = [
    Row("guest-ping, with a policy", 1.0, partial(_command, "guest-ping"), 3000),
    Row("guest-exec /bin/true, with a policy", 0.8, partial(_exec, ("/bin/true",), 0.0), 30),
]

# With 800 interfaces, and 200 filesystems on 200 loop devices.
CROWDED = _commands(5.0, 3, "guest-network-get-interfaces", "guest-get-fsinfo", "guest-get-disks")
