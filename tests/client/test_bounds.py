"""What a reply may cost is bounded before it is decoded; no real reply comes near the bounds."""

from __future__ import annotations

import base64
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from qga.client import CommandFailed, MalformedReply, OutOfStep
from qga.client import libvirt as by_libvirt
from qga.client.errors import MAX_DESC
from qga.client.reading import MAX_PARTS, MAX_REPLY
from tests.client.recorded import RecordedConnection, Reply, synchronised

MIB = 1 << 20


def asked(command: str, **arguments: Any) -> tuple[RecordedConnection, int]:
    """A connection that waits for the reply to this command."""
    connection = synchronised()
    number = connection.submit(command, arguments)
    connection.outgoing()
    return connection, number


def fed(connection: RecordedConnection, line: bytes) -> list[Reply]:
    """As it comes from a socket, up to where it is refused."""
    got = []
    for at in range(0, len(line), MIB):
        got += connection.replies(line[at : at + MIB])
    return got


@contextmanager
def peak() -> Iterator[list[int]]:
    """Bytes that were allocated at most within it, beside what was there before."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def lists(size: int, number: int) -> bytes:
    return b'{"id":%d,"return":[' % number + b"[]," * (size // 3) + b"[]]}\n"


@pytest.mark.parametrize(("size", "why"), [(120 * MIB, "more than 32 MiB"), (30 * MIB, "more than 1048576 parts")])
def test_a_reply_of_many_empty_lists_is_refused(size: int, why: str) -> None:
    """The larger took 3.8 GB: thirty times its size. It takes its own size at most, twice while pieces are joined."""
    connection, number = asked("guest-info")
    line = lists(size, number)
    with peak() as most, pytest.raises(OutOfStep, match=why):
        fed(connection, line)
    assert most[0] <= 2 * min(size, MAX_REPLY) + 4 * MIB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "marks"), [(b'{"a":{}},', 3), (b'{"a":1.5},', 2), (b'{"a":1.5,"b":1.5,"c":2.5},', 4), (b"[1.5],", 2)]
)
def test_the_worst_that_is_decoded(part: bytes, marks: int) -> None:
    """Just below the bound of parts, whatever they are."""
    connection, number = asked("guest-info")
    body = part * ((MAX_PARTS - 10) // marks)
    line = b'{"id":%d,"return":[%s]}\n' % (number, body[:-1])
    with peak() as most:
        (reply,) = fed(connection, line)
    assert isinstance(reply.error, MalformedReply)
    assert most[0] <= 200e6


def test_real_replies_stay_below_the_bounds() -> None:
    disk = {
        "pci-controller": {"domain": 0, "bus": 0, "slot": 7, "function": 0},
        "bus-type": "virtio",
        "bus": 0,
        "target": 0,
        "unit": 0,
        "serial": "x" * 40,
        "dev": "/dev/mapper/" + "x" * 60,
    }
    mount = {
        "name": "dm-1234",
        "mountpoint": "/" + "x" * 120,
        "type": "ext4",
        "disk": [disk, disk],
        "used-bytes": 2**40,
        "total-bytes": 2**42,
        "total-bytes-privileged": 2**42,
    }
    address = {"ip-address": "fe80::5054:ff:fe12:3456", "ip-address-type": "ipv6", "prefix": 64}
    counters = {f"{way}-{what}": 2**50 for way in ("rx", "tx") for what in ("bytes", "packets", "errs", "dropped")}
    interface = {
        "name": "veth0123456789",
        "hardware-address": "52:54:00:12:34:56",
        "ip-addresses": [address] * 20,
        "statistics": counters,
    }
    output = base64.b64encode(bytes(16 * MIB)).decode()
    for command, arguments, value in (
        ("guest-get-fsinfo", {}, [mount] * 10_000),
        ("guest-network-get-interfaces", {}, [interface] * 800),
        ("guest-exec-status", {"pid": 1}, {"exited": True, "exitcode": 0, "out-data": output, "err-data": output}),
        (
            "guest-file-read",
            {"handle": 1, "count": 48 * MIB},
            {"count": 48 * MIB, "buf-b64": output * 3, "eof": False},
        ),
    ):
        connection, number = asked(command, **arguments)
        line = orjson.dumps({"return": value, "id": number}, option=orjson.OPT_APPEND_NEWLINE)
        assert fed(connection, line) == [Reply(number, value)]


def test_a_read_has_room_for_what_was_asked_and_no_more() -> None:
    for count in (None, 10, "x", -(2**70), True):
        connection, number = asked("guest-file-read", handle=1, **({} if count is None else {"count": count}))
        with pytest.raises(OutOfStep, match="more than 32 MiB"):
            fed(connection, b'{"id":%d,"return":{"buf-b64":"%s"}}\n' % (number, b"A" * (33 * MIB)))


def test_half_a_reply_without_end_is_refused_as_well() -> None:
    connection, _ = asked("guest-info")
    with pytest.raises(OutOfStep, match="more than 32 MiB"):
        fed(connection, b" " * (40 * MIB))


def test_deep_nesting_is_not_a_reply() -> None:
    connection, number = asked("guest-info")
    with pytest.raises(OutOfStep, match="what is not a reply"):
        fed(connection, b'{"id":%d,"return":%s}\n' % (number, b"[" * 5000 + b"]" * 5000))


def test_through_libvirt_too() -> None:
    with pytest.raises(OutOfStep, match="parts"):
        by_libvirt._value("guest-info", MAX_REPLY, lists(30 * MIB, 1).decode())
    with pytest.raises(OutOfStep, match="36 MiB: refused"):
        by_libvirt._value("guest-info", MAX_REPLY, " " * (36 * MIB))
    with pytest.raises(MalformedReply, match=r"^guest-get-time: .* expected an integer"):
        by_libvirt._value("guest-get-time", MAX_REPLY, '{"return": "x"}')
    with pytest.raises(MalformedReply, match="error: expected an object, got a list of 0"):
        by_libvirt._value("guest-get-time", MAX_REPLY, '{"error": []}')


@pytest.mark.parametrize("error", [b"[]", b"null", b'{"desc":7}', b'{"desc":[[]]}', b'{"desc":"","class":{}}'])
def test_an_error_of_another_shape(error: bytes) -> None:
    connection, number = asked("guest-info")
    (reply,) = fed(connection, b'{"id":%d,"error":%s}\n' % (number, error))
    assert isinstance(reply.error, MalformedReply)


def test_what_an_error_says_is_cut() -> None:
    connection, number = asked("guest-info")
    (reply,) = fed(connection, b'{"id":%d,"error":{"desc":"%s"}}\n' % (number, b"x" * (20 * MIB)))
    assert isinstance(reply.error, CommandFailed)
    assert len(reply.error.desc) == MAX_DESC + 1


@pytest.mark.forks
@pytest.mark.parametrize("how", ["json", "line"])
@pytest.mark.parametrize("letter", ["\u202e", "\U0001f600"])
def test_what_is_shown_takes_a_few_times_its_size(letter: str, how: str) -> None:
    """An object for each letter that is not ASCII was 25 times: 1.8 GB for a reply of 68 MiB."""
    words = "import sys; from qga.tool import output; getattr(output, sys.argv[2])(sys.argv[1] * (6 << 20));"
    # The peak of this program: ru_maxrss has that of the process that started it, too; proc(5), VmHWM.
    words += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", words, letter, how], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert done.returncode == 0
    assert int(done.stderr) / 1024 < 250, "MiB"
