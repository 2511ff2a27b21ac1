"""What QEMU's own unit test of its agent asks and asserts, row by row: tests/qtest of QEMU calls it ``/qga/…``.

Each row works on agents that a ``Machine`` starts: of this checkout, or of a package that is installed somewhere.
"""

from __future__ import annotations

import base64
import itertools
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lines import Lines
from tests.until import until

HELLO = b"Hello World!\n\0"
LOOP = "for i in 1 2; do echo stdout; sleep 0.1; echo stderr >&2; sleep 0.1; done"
CONFIGURATION = """\
[general]
daemon=false
method=virtio-serial
path=/path/to/org.qemu.guest_agent.0
pidfile=/var/foo/qemu-ga.pid
statedir=/var/state
verbose=true
block-rpcs=guest-ping;guest-get-time
"""
RELEASE = r"""ID=qemu-ga-test
NAME=QEMU-GA
PRETTY_NAME="QEMU Guest Agent test"
VERSION="Test 1"
VERSION_ID=1
VARIANT="Unit test \"\'\$\`\\ and \\\\ etc."
VARIANT_ID=unit-test
"""


@dataclass
class Machine:
    """Where the agents run. ``directory`` is their working directory, which they see as ``inside``.

    ``start`` starts one with further options and nothing but these variables in its environment, and connects to it;
    ``run`` has it do something and end. ``shared`` is the connection that most rows use, one after the other.
    """

    directory: Path
    inside: str
    start: Callable[[Sequence[str], dict[str, str]], AbstractContextManager[Lines]]
    run: Callable[[Sequence[str], dict[str, str]], subprocess.CompletedProcess[str]]
    shared: Lines


@contextmanager
def machine_of(directory: Path, inside: str, program: Sequence[str], prefix: Sequence[str] = ()) -> Iterator[Machine]:
    """A machine whose agent is ``program``; ``prefix`` are words that lead to where it runs, and become it."""
    numbers = itertools.count()

    def words(environment: dict[str, str], *options: str) -> list[str]:
        variables = [f"{name}={value}" for name, value in environment.items()]
        return [*prefix, "env", "-i", "-C", inside, *variables, *program, *options]

    @contextmanager
    def start(options: Sequence[str], environment: dict[str, str]) -> Iterator[Lines]:
        name = f"sock{next(numbers)}"
        (directory / f"{name}.state").mkdir()
        path, state = f"{inside}/{name}", f"{inside}/{name}.state"
        agent = subprocess.Popen(words(environment, "-m", "unix-listen", "-p", path, "-t", state, *options))
        try:
            until((directory / name).exists)
            with Lines.connect_soon(directory / name) as lines:
                yield lines
        finally:
            agent.terminate()
            assert agent.wait(30) == 0

    def run(options: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words(environment, *options), capture_output=True, text=True)

    with start([], {}) as shared:
        yield Machine(directory, inside, start, run, shared)


def ask(lines: Lines, command: str, **arguments: Any) -> dict[str, Any]:
    """Return the whole reply. An underscore in an argument's name stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    lines.send(json.dumps({"execute": command, **({"arguments": named} if named else {})}).encode() + b"\n")
    reply: dict[str, Any] = json.loads(lines.read_line(30))
    return reply


def returned(lines: Lines, command: str, **arguments: Any) -> Any:
    reply = ask(lines, command, **arguments)
    assert "error" not in reply, reply
    return reply["return"]


def refused(reply: dict[str, Any], kind: str = "GenericError") -> str:
    """Return the text of an error of this class."""
    assert set(reply) == {"error"}, reply
    assert reply["error"]["class"] == kind
    text: str = reply["error"]["desc"]
    assert text
    return text


def first_of(lines: Lines, command: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = returned(lines, command)
    assert found
    return found[0]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sync_delimited(machine: Machine) -> None:
    number = secrets.randbits(32)
    machine.shared.send(b"\xff")
    machine.shared.send(json.dumps({"execute": "guest-sync-delimited", "arguments": {"id": number}}).encode() + b"\n")
    machine.shared.read_until(b"\xff", 30)
    assert json.loads(machine.shared.read_line(30)) == {"return": number}


def sync(machine: Machine) -> None:
    number = secrets.randbits(32)
    assert returned(machine.shared, "guest-sync", id=number) == number


def ping(machine: Machine) -> None:
    assert returned(machine.shared, "guest-ping") == {}


def info(machine: Machine) -> None:
    assert returned(machine.shared, "guest-info")["version"] == "10.2.2"


def network_get_interfaces(machine: Machine) -> None:
    assert "name" in first_of(machine.shared, "guest-network-get-interfaces")


def get_vcpus(machine: Machine) -> None:
    assert {"online", "logical-id"} <= set(first_of(machine.shared, "guest-get-vcpus"))


def get_fsinfo(machine: Machine) -> None:
    for filesystem in returned(machine.shared, "guest-get-fsinfo")[:1]:
        assert {"name", "mountpoint", "type", "disk"} <= set(filesystem)


def get_load(machine: Machine) -> None:
    assert {"load1m", "load5m", "load15m"} <= set(returned(machine.shared, "guest-get-load"))


def get_memory_block_info(machine: Machine) -> None:
    reply = ask(machine.shared, "guest-get-memory-block-info")
    assert "error" in reply or reply["return"]["size"] > 0


def get_memory_blocks(machine: Machine) -> None:
    reply = ask(machine.shared, "guest-get-memory-blocks")
    for block in reply.get("return", [])[:1]:
        assert {"phys-index", "online"} <= set(block)


def file_ops(machine: Machine) -> None:
    lines = machine.shared
    handle = returned(lines, "guest-file-open", path="foo", mode="w+")
    written = returned(lines, "guest-file-write", handle=handle, buf_b64=encoded(HELLO))
    assert written == {"count": 14, "eof": False}
    ask(lines, "guest-file-flush", handle=handle)
    ask(lines, "guest-file-close", handle=handle)
    assert (machine.directory / "foo").read_bytes() == HELLO
    handle = returned(lines, "guest-file-open", path="foo", mode="r")
    assert returned(lines, "guest-file-read", handle=handle) == {
        "count": 14,
        "buf-b64": encoded(HELLO),
        "eof": True,
    }
    assert returned(lines, "guest-file-read", handle=handle) == {"count": 0, "buf-b64": "", "eof": True}
    assert returned(lines, "guest-file-seek", handle=handle, offset=6, whence="set") == {"position": 6, "eof": False}
    assert returned(lines, "guest-file-read", handle=handle) == {
        "count": 8,
        "buf-b64": encoded(HELLO[6:]),
        "eof": True,
    }
    returned(lines, "guest-file-close", handle=handle)


def file_write_read(machine: Machine) -> None:
    lines = machine.shared
    handle = returned(lines, "guest-file-open", path="foo", mode="w+")
    assert returned(lines, "guest-file-write", handle=handle, buf_b64=encoded(HELLO)) == {"count": 14, "eof": False}
    assert returned(lines, "guest-file-read", handle=handle) == {"count": 0, "buf-b64": "", "eof": True}
    assert returned(lines, "guest-file-seek", handle=handle, offset=0, whence="set") == {"position": 0, "eof": False}
    read = returned(lines, "guest-file-read", handle=handle)
    assert read == {"count": 14, "buf-b64": encoded(HELLO), "eof": True}
    returned(lines, "guest-file-close", handle=handle)


def get_time(machine: Machine) -> None:
    assert returned(machine.shared, "guest-get-time") > 0


def the_id(machine: Machine) -> None:
    machine.shared.send(b'{"execute": "guest-ping", "id": 1}\n')
    assert json.loads(machine.shared.read_line(30)) == {"return": {}, "id": 1}


def invalid_oob(machine: Machine) -> None:
    machine.shared.send(b'{"exec-oob": "guest-ping"}\n')
    refused(json.loads(machine.shared.read_line(30)))


def invalid_cmd(machine: Machine) -> None:
    refused(ask(machine.shared, "guest-invalid-cmd"), "CommandNotFound")


def invalid_args(machine: Machine) -> None:
    assert refused(ask(machine.shared, "guest-ping", foo=42)) == "Parameter 'foo' is unexpected"


def fsfreeze_status(machine: Machine) -> None:
    assert returned(machine.shared, "guest-fsfreeze-status") == "thawed"


def blockedrpcs(machine: Machine) -> None:
    with machine.start(["-b", "guest-ping,guest-get-time"], {}) as lines:
        for command in ("guest-ping", "guest-get-time"):
            assert "has been disabled" in refused(ask(lines, command), "CommandNotFound")
        returned(lines, "guest-get-fsinfo")


def allowedrpcs(machine: Machine) -> None:
    with machine.start(["-a", "guest-ping,guest-get-time"], {}) as lines:
        for command in ("guest-ping", "guest-get-time"):
            returned(lines, command)
        assert "has been disabled" in refused(ask(lines, "guest-get-fsinfo"), "CommandNotFound")


def config(machine: Machine) -> None:
    (machine.directory / "config").write_text(CONFIGURATION)
    done = machine.run(["-D"], {"QGA_CONF": f"{machine.inside}/config"})
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == "[general]"
    dumped = dict(line.split("=", 1) for line in lines if line)
    wanted = dict(line.split("=", 1) for line in CONFIGURATION.splitlines()[1:])
    assert {key: dumped[key] for key in wanted} == wanted


def status_of(lines: Lines, **arguments: Any) -> dict[str, Any]:
    """Run a program and return how it ended, as the C test does: without a pause between two looks."""
    pid = returned(lines, "guest-exec", **arguments)["pid"]
    assert pid > 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status: dict[str, Any] = returned(lines, "guest-exec-status", pid=pid)
        if status["exited"]:
            assert status["exitcode"] == 0
            return status
    raise AssertionError("it does not end")


def guest_exec(machine: Machine) -> None:
    status = status_of(machine.shared, path="echo", arg=["-n", '" test_str "'], capture_output=True)
    assert base64.b64decode(status["out-data"]) == b'" test_str "'


def guest_exec_separated(machine: Machine) -> None:
    status = status_of(machine.shared, path="bash", arg=["-c", LOOP], capture_output="separated")
    assert base64.b64decode(status["out-data"]) == b"stdout\nstdout\n"
    assert base64.b64decode(status["err-data"]) == b"stderr\nstderr\n"


def guest_exec_merged(machine: Machine) -> None:
    status = status_of(machine.shared, path="bash", arg=["-c", LOOP], capture_output="merged")
    assert base64.b64decode(status["out-data"]) == b"stdout\nstderr\nstdout\nstderr\n"
    assert "err-data" not in status


def guest_exec_invalid(machine: Machine) -> None:
    refused(ask(machine.shared, "guest-exec", path="/bin/invalid-cmd42"))
    refused(ask(machine.shared, "guest-exec-status", pid=0))


def guest_get_osinfo(machine: Machine) -> None:
    (machine.directory / "os-release").write_text(RELEASE)
    with machine.start([], {"QGA_OS_RELEASE": f"{machine.inside}/os-release"}) as lines:
        found = returned(lines, "guest-get-osinfo")
    assert {key: found[key] for key in found if not key.startswith(("kernel", "machine"))} == {
        "id": "qemu-ga-test",
        "name": "QEMU-GA",
        "pretty-name": "QEMU Guest Agent test",
        "version": "Test 1",
        "version-id": "1",
        "variant": "Unit test \"'$`\\ and \\\\ etc.",
        "variant-id": "unit-test",
    }


def guest_get_host_name(machine: Machine) -> None:
    assert "host-name" in returned(machine.shared, "guest-get-host-name")


def guest_get_timezone(machine: Machine) -> None:
    assert "offset" in returned(machine.shared, "guest-get-timezone")


def guest_get_users(machine: Machine) -> None:
    assert isinstance(returned(machine.shared, "guest-get-users"), list)


Row = Callable[[Machine], None]
ROWS: list[Row] = [
    *(sync_delimited, sync, ping, info, network_get_interfaces, get_vcpus, get_fsinfo, get_load),
    *(get_memory_block_info, get_memory_blocks, file_ops, file_write_read, get_time, the_id, invalid_oob),
    *(invalid_cmd, invalid_args, fsfreeze_status, blockedrpcs, allowedrpcs, config, guest_exec),
    *(guest_exec_separated, guest_exec_merged, guest_exec_invalid, guest_get_osinfo, guest_get_host_name),
    *(guest_get_timezone, guest_get_users),
]
