"""How fast a file is copied through a unix socket: ``python -m tests.bench_client [MiB] [qemu-ga]``.

Bytes a second of either direction, the median and the worst of five runs, with and without the hash at the far end;
beside it what the agent gives and takes where the requests are made beforehand and the replies thrown away. And how
long ``qga ping`` takes, beside an interpreter that does nothing.
"""

from __future__ import annotations

import base64
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qga.client import Client
from qga.client.connection import Connection
from tests.bench.client import Client as RawClient
from tests.bench.client import request
from tests.running import RunningAgent

RUNS = 5


def rates(address: str, directory: Path, mebibytes: int) -> None:
    source, far, back = (directory / name for name in ("source", "far", "back"))
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    floors = raw(address, directory, mebibytes << 20)
    with Client.connect(address, wait=10) as client:
        for verify in (False, True):
            for name, way, ends in (
                ("upload", client.upload, (source, far)),
                ("download", client.download, (far, back)),
            ):
                measured = [way(str(ends[0]), str(ends[1]), verify=verify) for _ in range(RUNS)]
                assert all(outcome.verified == verify for outcome in measured)
                show(f"{name}{', verified' * verify}", [one.size / one.seconds for one in measured], floors[name])


def raw(address: str, directory: Path, size: int) -> dict[str, float]:
    """Bytes a second that the agent takes and gives, in requests like the copy's."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        client = RawClient(sock, str(directory))
        found = {}
        for name, mode, chunk in (
            ("upload", "w", Connection.limits.write),
            ("download", "r", Connection.limits.read),
        ):
            handle = client.ask("guest-file-open", path=str(directory / "raw"), mode=mode)
            message = write(handle, chunk) if mode == "w" else request("guest-file-read", handle=handle, count=chunk)
            begun = time.perf_counter()
            pipelined(sock, message, size // chunk)
            found[name] = size // chunk * chunk / (time.perf_counter() - begun)
            client.ask("guest-file-close", handle=handle)
            show(f"{name}, raw", [found[name]], found[name])
    return found


def write(handle: int, chunk: int) -> bytes:
    return request("guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(os.urandom(chunk)).decode()})


def pipelined(sock: socket.socket, message: bytes, count: int) -> None:
    """Send the requests with as many in flight as the copy has."""
    sent = received = 0
    while received < count:
        while sent < count and sent - received < Connection.limits.window:
            sock.sendall(message)
            sent += 1
        received += sock.recv(1 << 20).count(b"\n")


def starts(address: str) -> None:
    taken = {}
    for name, words in (("python", ["-c", ""]), ("qga ping", ["-m", "qga.tool", "-c", address, "ping"])):
        times = []
        for _ in range(2 * RUNS):
            begun = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True)
            times.append(time.perf_counter() - begun)
        taken[name] = statistics.median(times)
    ratio = taken["qga ping"] / taken["python"]
    print(f"{'qga ping':20}  {taken['qga ping'] * 1000:6.0f} ms  {ratio:.1f} interpreters")


def show(name: str, rates: list[float], floor: float) -> None:
    median = statistics.median(rates)
    print(f"{name:20}  {median / 1e6:6.0f} MB/s  (worst {min(rates) / 1e6:.0f})  {median / floor:.2f} of raw")


@contextmanager
def agent(program: str, directory: Path) -> Iterator[str]:
    path = str(directory / "agent.sock")
    if not program:
        with RunningAgent(directory, "-m", "unix-listen", "-p", path, "-b", "guest-fsfreeze-freeze"):
            yield path
        return
    words = [program, "-m", "unix-listen", "-p", path, "-t", str(directory), "-b", "guest-fsfreeze-freeze"]
    with subprocess.Popen(words) as process:
        try:
            Client.connect(path, wait=10).close()
            yield path
        finally:
            process.kill()


def main(mebibytes: int = 256, program: str = "") -> None:
    with tempfile.TemporaryDirectory() as name, agent(program, Path(name)) as address:
        starts(address)
        rates(address, Path(name), mebibytes)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 256, *sys.argv[2:3])
