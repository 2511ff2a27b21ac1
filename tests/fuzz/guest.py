"""What holds for any files, kernel and configuration: parsers never crash, and their results fit a reply."""

from __future__ import annotations

import atexit
import errno
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from qga.agent import config
from qga.agent.binding import bind
from qga.agent.config import cmdline, keyfile
from qga.agent.linux import block, nvme, osrelease, sshkeys, users
from qga.agent.linux.diskaddress import disk_address
from qga.agent.linux.host import Host, Outcome
from qga.agent.policy import Policy, rules
from qga.agent.state.handles import STATE_FILE, FileTable
from qga.protocol import base64
from qga.protocol.errors import RequestError
from qga.protocol.schema import INT64_MAX
from qga.protocol.validate import Validator, compile_validator
from qga.protocol.wire import encode
from tests.conftest import now
from tests.contexts import context
from tests.fuzz.protocol import SCHEMA
from tests.netlink import payloads

_HANDLERS = bind(SCHEMA)
_NOWHERE = Path("/nonexistent")
_validators: dict[str, Validator] = {}


class Guest(Host):
    """A guest that is only what the fuzzer says: no path leads out of its root, no program or call does anything."""

    files: Mapping[str, bytes] = {}
    datagrams: tuple[bytes, ...] = ()

    def path(self, path: str) -> str:
        return self.root + path.replace("..", "")

    def read(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return io.TextIOWrapper(io.BytesIO(self.files[path]), "utf-8", "surrogateescape").read()

    def rtnetlink(self, request: int) -> list[bytes]:
        return payloads(request, self.datagrams)

    def ioctl(self, descriptor: int, request: int, argument: bytearray | int = 0) -> int:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))


def _guest(
    files: Mapping[str, bytes] | None = None, *, root: Path = _NOWHERE, datagrams: tuple[bytes, ...] = ()
) -> Guest:
    guest = Guest(_no_program, lambda program: None, str(root))
    guest.files, guest.datagrams = files or {}, datagrams
    return guest


def _no_program(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 0) -> Outcome:
    return Outcome(errno=errno.ENOENT)


def file(path: str, *commands: str) -> Callable[[bytes], None]:
    """Commands that read this file of the kernel: no line of one has a NUL."""

    def run(data: bytes) -> None:
        for command in commands:
            _ask(command, _guest({path: data.replace(b"\0", b"")}))

    return run


def interfaces(data: bytes) -> None:
    _ask("guest-network-get-interfaces", _guest(datagrams=(data,)))


def power_states(data: bytes) -> None:
    state, _, disk = data.partition(b"|")
    _ask("guest-suspend-hybrid", _guest({"/sys/power/state": state, "/sys/power/disk": disk}))


def utmp(data: bytes) -> None:
    for machine in ("x86_64", "aarch64"):
        logins = users.parse_utmp(data, machine)
        _fits(["GuestUser"], [{"user": login.user, "login-time": login.time} for login in logins])


def logind_session(data: bytes) -> None:
    login = users.parse_session(_text(data))
    if login is not None:
        _fits("GuestUser", {"user": login.user, "login-time": login.time})


def os_release(data: bytes) -> None:
    """A value survives being quoted as the shell does it."""
    found = osrelease.parse_os_release(data.decode(errors="replace"))
    quoted = "".join(f"{name}='" + value.replace("'", r"'\''") + "'\n" for name, value in found.items())
    assert osrelease.parse_os_release(quoted) == found


def nvme_health(data: bytes) -> None:
    log = data[: nvme.LOG_SIZE].ljust(nvme.LOG_SIZE, b"\0")  # the kernel fills what it was given
    _fits("GuestNVMeSmart", nvme.parse_health(log))


def device_path(data: bytes) -> None:
    """Where sysfs has a device; the first byte that is no part of it ends it."""
    path = os.fsdecode(data.partition(b"\0")[0])
    _fits("GuestDiskAddress", disk_address(_guest(), block.Device(f"{_directory()}/sys/{path}", "/dev/x", "8:0")))


def device_properties(data: bytes) -> None:
    kernel, _, udev = data.partition(b"|")
    directory = _directory()
    (directory / "uevent").write_bytes(kernel)
    guest = _guest({"/run/udev/data/b8:0": udev})
    device = block.read_device(guest, str(directory))
    address = disk_address(guest, device)
    assert (address is None) == (device.devnode is None and "ID_SERIAL" not in block.udev_properties(guest, device))
    if address is not None:
        _fits("GuestDiskAddress", address)


def natural_order(data: bytes) -> None:
    names = [os.fsdecode(name[:255]) for name in data.split(b"\n")]  # NAME_MAX
    sorted(names, key=block.natural)


def authorized_keys(data: bytes) -> None:
    """What was added is listed, what was removed is not, and every other line stays."""
    old, *rest = data.split(b"|")
    keys = [key for key in rest if b"\n" not in key]
    more = sshkeys.with_keys(old, keys)
    assert sshkeys.with_keys(more, keys) == more
    assert set(more.split(b"\n")) == set(old.split(b"\n")) | set(keys) | {b""}
    fewer = sshkeys.without_keys(more, keys)
    assert set(fewer.split(b"\n")) == set(more.split(b"\n")) - set(keys) | {b""}
    _fits("GuestAuthorizedKeys", {"keys": sshkeys.parse_keys(more)})


def password(data: bytes) -> None:
    """chpasswd gets one line, of this user."""
    lines: list[bytes] = []

    def chpasswd(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 0) -> Outcome:
        lines.append(stdin)
        return Outcome(status=0)

    name, _, secret = data.partition(b"|")
    guest = Guest(chpasswd, lambda program: None, str(_NOWHERE))
    _ask("guest-set-user-password", guest, username=_text(name), password=_text(secret), crypted=False)
    (line,) = lines
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.partition(b":")[0] == name


def program_output(data: bytes) -> None:
    outcome = Outcome(status=1, output=data)
    encode(outcome.text)
    outcome.require("hook", "do it")


def base64_text(data: bytes) -> None:
    decoded = base64.decode(_text(data))
    assert base64.decode(base64.encode(decoded)) == decoded


def key_file(data: bytes) -> None:
    """Every value that can be read comes back from where it was written."""
    for entries in keyfile.parse(data).values():
        for entry in entries.values():
            text = entry.string()
            again = keyfile.parse(f"[g]\nk={keyfile.escape(text)}\n".encode())
            assert again["g"]["k"].string() == text


def configuration(data: bytes) -> None:
    """The output of --dump-conf means the same configuration, except for the order of names in a list."""
    path = _directory() / "qemu-ga.conf"

    def load(data: bytes) -> config.Config:
        path.write_bytes(data)
        read = config.load((), {"QGA_CONF": str(path)}).config
        return read._replace(block_rpcs=tuple(sorted(read.block_rpcs)), allow_rpcs=tuple(sorted(read.allow_rpcs)))

    assert load(config.dump(load(data)).encode()) == load(data)


def policy_file(data: bytes) -> None:
    """A policy that loads decides every command, and names the rule in one line."""
    path = _directory() / "policy.toml"
    path.write_bytes(data)
    read = rules.load(str(path), SCHEMA.commands)
    policy = Policy(rules=read)
    for name, chain in read.chains.items():
        assert not chain[-1].constraints
        if policy.permits(name) and name in policy.by_argument:
            command = SCHEMA.commands[name]
            arguments = dict.fromkeys(command.arguments.get("required", ()), "/none")
            decision = policy.decide(command, arguments, {})
            assert decision.rule in {rule.where for rule in chain}
            if decision.target is not None:
                decision.target.close()


def command_line(data: bytes) -> None:
    cmdline.parse(os.fsdecode(data).split("\0"))


def vsock_address(data: bytes) -> None:
    cid, port = config.vsock_address(_text(data))
    assert max(cid, port) <= config.VSOCK_MAX


def handle_counter(data: bytes) -> None:
    """The next handle is one that a host can send."""
    directory = _directory()
    (directory / STATE_FILE).write_bytes(data)
    table = FileTable(str(directory))
    handle = table.open("/dev/null", "r")
    table.close(handle)
    assert 0 <= handle <= INT64_MAX


def _ask(command: str, guest: Guest, **arguments: object) -> None:
    """Carry out a command, and hold what it returns to the schema."""
    returned = _HANDLERS[command](context(guest, SCHEMA, Policy()), **arguments)
    if SCHEMA.commands[command].slow:
        returned = now(cast("Coroutine[Any, None, object]", returned))
    returns = SCHEMA.commands[command].returns
    if returns is not None:
        _fits(returns, returned)


def _fits(reference: str | list[str], value: object) -> None:
    """Assert that the value has this schema type and can be encoded. Numbers may be as large as a file contains."""
    key = str(reference)
    if key not in _validators:
        _validators[key] = compile_validator(_unbounded(SCHEMA.type(reference)))
    try:
        _validators[key](value)
    except RequestError as error:
        raise AssertionError(f"{value!r} is no {reference}: {error}") from None
    json.loads(encode(value))


def _unbounded(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {key: _unbounded(inner) for key, inner in shape.items() if key not in ("minimum", "maximum")}
    return [_unbounded(inner) for inner in shape] if isinstance(shape, list) else shape


def _text(data: bytes) -> str:
    """Return text as it is in a request: invalid UTF-8 is rejected earlier."""
    return data.decode(errors="surrogateescape")


@cache
def _directory() -> Path:
    """Files that a parser opens itself, and controllers for disks to be attached to."""
    directory = Path(tempfile.mkdtemp(prefix="qga-fuzz-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    (directory / "dev").write_text("8:0\n")
    for number, driver in enumerate(("ahci", "ata_piix", "nvme", "sym53c8xx", "virtio-pci", "xhci_hcd")):
        controller = directory / f"sys/devices/pci0000:00/0000:00:0{number}.0"
        for port in ("ata3", "ata10", "host2"):
            (controller / port).mkdir(parents=True)
        (controller / "driver").symlink_to(f"/sys/bus/pci/drivers/{driver}")
    return directory
