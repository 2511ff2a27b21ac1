"""The requests sent to our agent and to QEMU's, and what their replies may differ in: tables for test_reference.py.

QEMU's is 7.2, ours follows 10.2: where these differ, or ours is meant to be better, the row says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.vm.interesting import USB_SLOT

Tidy = Callable[[Any], Any]


def step(command: str, **arguments: Any) -> dict[str, Any]:
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    return {"execute": command, "arguments": named}


def vcpus(*states: tuple[int, bool]) -> dict[str, Any]:
    return step("guest-set-vcpus", vcpus=[{"logical-id": number, "online": online} for number, online in states])


def blocks(*states: tuple[int, bool]) -> dict[str, Any]:
    return step("guest-set-memory-blocks", mem_blks=[{"phys-index": n, "online": online} for n, online in states])


# What is read


def same(reply: Any) -> Any:
    return reply


def by(*keys: str) -> Tidy:
    """Put a list of objects in order."""
    return lambda reply: sorted(reply, key=lambda item: [item[key] for key in keys])


def filesystems(reply: Any) -> Any:
    for filesystem in reply:
        filesystem.pop("total-bytes-privileged", None)  # new in QEMU 9.1; test_sizes_of_filesystems has it
        filesystem["disk"] = disks(filesystem["disk"], "dev")
    return by("mountpoint")(reply)


def first_mounts(reply: Any) -> Any:
    """QEMU 7.2 lists a device once for every mount, the last first; 10.2 lists its first mount only."""
    return list({filesystem["name"]: filesystem for filesystem in map(known_buses, reply)}.values())


def known_buses(reply: Any) -> Any:
    """QEMU 7.2 does not know USB and so reports no controller; no version of QEMU's agent knows memory cards."""
    for address in [reply.get("address", {}), *reply.get("disk", [])]:
        if "qga-usb" in address.get("serial", ""):
            controller = {"domain": 0, "bus": 0, "slot": USB_SLOT, "function": 0}
            address.update({"bus-type": "usb", "pci-controller": controller})
        if address.get("dev", "").startswith("/dev/mmcblk"):
            address["bus-type"] = "sd"
    return reply


def disks(reply: Any, key: str = "name") -> Any:
    for disk in reply:
        if "dependencies" in disk:
            disk["dependencies"].sort()
    return by(key)(reply)


def interfaces(reply: Any) -> Any:
    for interface in reply:
        interface.get("ip-addresses", []).sort(key=lambda address: address["ip-address"])
    return by("name")(reply)


@dataclass(frozen=True)
class Read:
    """``tidy`` removes from both replies what is not compared; ``newer`` turns a reply of 7.2 into that of 10.2."""

    tidy: Tidy = same
    newer: Tidy = same
    arguments: dict[str, Any] | None = None


READ = {
    "guest-sync": Read(arguments={"id": -(2**63)}),
    "guest-ping": Read(),
    "guest-get-time": Read(),
    "guest-fsfreeze-status": Read(),
    "guest-network-get-interfaces": Read(interfaces),
    "guest-get-vcpus": Read(by("logical-id")),  # 7.2 and 10.2: as the directory has them
    "guest-get-disks": Read(disks, lambda reply: list(map(known_buses, reply))),
    "guest-get-fsinfo": Read(filesystems, first_mounts),
    "guest-get-memory-blocks": Read(by("phys-index")),  # as guest-get-vcpus
    "guest-get-memory-block-info": Read(),
    "guest-get-host-name": Read(),
    "guest-get-users": Read(),
    "guest-get-timezone": Read(),
    "guest-get-osinfo": Read(),
    # QEMU's list is backwards.
    "guest-ssh-get-authorized-keys": Read(newer=lambda r: {"keys": r["keys"][::-1]}, arguments={"username": "root"}),
    "guest-get-diskstats": Read(),
    "guest-get-cpustats": Read(),
}


# What is done: the same requests to each, from the same state, earn the same replies

HANDLE = "the handle that the last guest-file-open gave"
SCRATCH = "a file of the agent's own"

DONE: dict[str, tuple[list[dict[str, Any]], Tidy]] = {
    "file that is written and read": (
        [
            step("guest-file-open", path=SCRATCH, mode="w+"),
            step("guest-file-write", handle=HANDLE, buf_b64="aGVsbG8gd29ybGQK"),
            step("guest-file-write", handle=HANDLE, buf_b64="aGVsbG8=", count=2),
            step("guest-file-flush", handle=HANDLE),
            step("guest-file-seek", handle=HANDLE, offset=0, whence="set"),
            step("guest-file-read", handle=HANDLE, count=5),
            step("guest-file-read", handle=HANDLE, count=0),
            step("guest-file-read", handle=HANDLE, count=9),  # just what is left
            step("guest-file-read", handle=HANDLE),
            step("guest-file-seek", handle=HANDLE, offset=-4, whence="end"),
            step("guest-file-read", handle=HANDLE, count=100),
            step("guest-file-seek", handle=HANDLE, offset=4096, whence=2),
            step("guest-file-write", handle=HANDLE, buf_b64=""),
            step("guest-file-write", handle=HANDLE, buf_b64="QUJD\nREVGRw=="),
            step("guest-file-seek", handle=HANDLE, offset=-1, whence=0),
            step("guest-file-seek", handle=HANDLE, offset=0, whence=3),
            step("guest-file-read", handle=HANDLE, count=-1),
            step("guest-file-read", handle=HANDLE, count=48 * 2**20 + 1),
            step("guest-file-write", handle=HANDLE, buf_b64="QUJD", count=4),
            step("guest-file-write", handle=HANDLE, buf_b64="QU*D"),
            step("guest-file-close", handle=HANDLE),
            step("guest-file-close", handle=HANDLE),
        ],
        same,
    ),
    "file that is appended to": (
        [
            step("guest-file-open", path=SCRATCH, mode="ab"),
            step("guest-file-write", handle=HANDLE, buf_b64="QUJD"),
            step("guest-file-close", handle=HANDLE),
            step("guest-file-open", path=SCRATCH, mode="a+b"),
            step("guest-file-write", handle=HANDLE, buf_b64="REVG"),
            step("guest-file-seek", handle=HANDLE, offset=0, whence="cur"),
            step("guest-file-seek", handle=HANDLE, offset=1, whence="set"),
            step("guest-file-read", handle=HANDLE),
            step("guest-file-close", handle=HANDLE),
        ],
        same,
    ),
    "file of the kernel": (
        [
            step("guest-file-open", path="/proc/version"),
            step("guest-file-read", handle=HANDLE, count=48 * 2**20),
            step("guest-file-seek", handle=HANDLE, offset=5, whence="set"),
            step("guest-file-read", handle=HANDLE),
            step("guest-file-close", handle=HANDLE),
        ],
        same,
    ),
    "directory": (
        [
            step("guest-file-open", path="/etc"),
            step("guest-file-read", handle=HANDLE),
            step("guest-file-close", handle=HANDLE),
        ],
        same,
    ),
    "file that is full": (
        [
            step("guest-file-open", path="/dev/full", mode="r+"),
            step("guest-file-read", handle=HANDLE, count=4),
            step("guest-file-close", handle=HANDLE),
        ],
        same,
    ),
    # The plugged-in processor stays offline: to start it now and then locks the emulated guest up.
    "processors": (
        [
            vcpus(),
            vcpus((1, False), (1, False)),
            step("guest-get-vcpus"),
            vcpus((2, False), (1, True), (0, False), (1, False)),
            step("guest-get-vcpus"),
            vcpus((0, False)),
            vcpus((99, True)),
            vcpus((0, True), (99, True)),
        ],
        lambda reply: by("logical-id")(reply) if isinstance(reply, list) else reply,
    ),
    # Memory that is online may not let itself be taken offline again.
    "memory": (
        [
            blocks(),
            blocks((32, True)),
            blocks((32, True), (99999, True), (0, True)),
            step("guest-set-memory-blocks", mem_blks=[{"phys-index": -1, "online": False, "can-offline": False}]),
            step("guest-get-memory-blocks"),
        ],
        by("phys-index"),
    ),
    "authorized keys": (
        [
            step("guest-ssh-add-authorized-keys", username="ann", keys=[], reset=True),
            step("guest-ssh-get-authorized-keys", username="ann"),
            step("guest-ssh-add-authorized-keys", username="ann", keys=["ssh-rsa A", "ssh-rsa B", "ssh-rsa A"]),
            step("guest-ssh-add-authorized-keys", username="ann", keys=["ssh-rsa B", "ssh-rsa C größe"]),
            step("guest-ssh-get-authorized-keys", username="ann"),
            step("guest-ssh-remove-authorized-keys", username="ann", keys=["ssh-rsa B", "ssh-rsa D"]),
            step("guest-ssh-add-authorized-keys", username="ann", keys=["ssh-rsa E", "#"]),
            step("guest-ssh-get-authorized-keys", username="ann"),
            step("guest-ssh-add-authorized-keys", username="ann", keys=["ssh-rsa F"], reset=True),
            step("guest-ssh-get-authorized-keys", username="ann"),
            step("guest-ssh-remove-authorized-keys", username="ann", keys=["ssh-rsa F"]),
            step("guest-ssh-get-authorized-keys", username="ann"),
        ],
        lambda reply: {"keys": sorted(reply["keys"])} if reply else reply,  # QEMU's list is backwards
    ),
    "password": (
        [
            step("guest-set-user-password", username="ann", password="T3BlbiBTZXNhbWU=", crypted=False),
            step("guest-set-user-password", username="ann", password="JDYkc2FsdCR4", crypted=True),
        ],
        same,
    ),
    "freezing": (
        [
            step("guest-fsfreeze-status"),
            step("guest-fsfreeze-thaw"),
            step("guest-fsfreeze-freeze-list", mountpoints=[]),
            step("guest-fsfreeze-freeze-list", mountpoints=["/nowhere", "/srv/tmpfs"]),
            step("guest-fsfreeze-freeze-list", mountpoints=["/srv/latin1-é"]),
            step("guest-fsfreeze-status"),
            step("guest-fsfreeze-freeze-list", mountpoints=["/srv/loop", "/srv/größe", "/srv/größe", "/nowhere"]),
            step("guest-fsfreeze-status"),
            step("guest-fsfreeze-thaw"),
            step("guest-fsfreeze-freeze"),
            step("guest-fsfreeze-status"),
            step("guest-fsfreeze-thaw"),
            step("guest-fsfreeze-status"),
        ],
        same,
    ),
}


# What is run

PROGRAMS: dict[str, dict[str, Any]] = {
    "true": {"path": "/bin/true"},
    "exit status": {"path": "/bin/sh", "arg": ["-c", "exit 200"], "capture-output": True},
    "both outputs": {"path": "sh", "arg": ["-c", "echo out; echo err >&2"], "capture-output": True},
    "not asked for its output": {"path": "echo", "arg": ["out"]},
    "silent": {"path": "true", "capture-output": True},
    "signal": {"path": "sh", "arg": ["-c", "kill -SEGV $$"], "capture-output": True},
    "input": {"path": "cat", "input-data": "aGVsbG8AAQ==", "capture-output": True},
    "no input": {"path": "cat", "capture-output": True},
    "environment": {"path": "env", "env": ["A=1", "B=x=y"], "capture-output": True},
    "environment's path": {"path": "qga-none", "env": ["PATH=/nowhere"]},
    "arguments": {"path": "printf", "arg": ["<%s>", "", "a b", "größe", "--"], "capture-output": True},
    "much": {"path": "head", "arg": ["-c", "17825792", "/dev/zero"], "capture-output": True},
    "session": {"path": "sh", "arg": ["-c", "pwd; ulimit -n; umask; ps -o tty= $$"], "capture-output": True},
}


# What is refused

ANY_TEXT = "ANY_TEXT"  # only the error class counts: each agent words the failure differently

NOT_A_REQUEST = (
    "[]",
    "{}",
    "5 ",
    '"x"',
    "null ",
    '{"execute": 5}',
    '{"exec": "guest-ping"}',
    '{"execute": "guest-ping", "control": 1, "id": [1.5, {"a": null}]}',
    '{"execute": "guest-ping", "arguments": []}',
    '{"execute": "guest-ping", "arguments": null}',
    '{"execute": "guest-ping", "execute": "guest-ping"}',
    '{"execute": "guest-sync", "arguments": {"id": +1}}',
    '{"execute": "guest-sync", "arguments": {"id": 01}}',
    '{"execute": "guest-ping", "id": "\\ud800"}',
    '{"execute": "guest-ping", "id": "\\x"}',
    '{"execute": "guest-ping",}',
    '{"execute": "guest-ping"]',
    '{"execute" "guest-ping"}',
    '{"execute": "gue\xff',
    "guest-ping\n",
)

NOT_RUN = "Failed to execute child process “{}” ({})"

# A request and our error text: None where it equals that of QEMU 7.2, else that of 10.2.
REFUSED: tuple[tuple[dict[str, Any], str | None], ...] = (
    (step("guest-nothing"), None),
    (step(""), None),
    (step("guest-get-devices"), "The command guest-get-devices has not been found"),
    (step("guest-ping", x=1), None),
    (step("guest-sync"), None),
    (step("guest-sync", id=1, x=2), None),
    (step("guest-sync", x=2), None),
    (step("guest-sync", id=None), None),
    (step("guest-sync", id=1.0), None),
    (step("guest-sync", id=2**63), None),
    (step("guest-file-open"), None),
    (step("guest-file-open", path="/nowhere/x"), None),
    (step("guest-file-open", path="/nowhere/größe", mode="w"), None),
    (step("guest-file-open", path="/etc/hosts", mode="rw"), None),
    (step("guest-file-open", path="/etc/hosts", mode=""), None),
    (step("guest-file-open", path="/etc/hosts", mode=1), None),
    (step("guest-file-open", path="/root", mode="w"), None),
    (step("guest-file-open", path="/sys/x", mode="a+"), None),
    (step("guest-file-open", path=""), None),
    (step("guest-file-open", path="/etc/\0hosts"), None),
    (step("guest-file-close", handle=4), None),
    (step("guest-file-close", handle="4"), None),
    (step("guest-file-read", handle=-1, count=-1), None),
    (step("guest-file-read", handle=4, count=True), None),
    (step("guest-file-write", handle=4, buf_b64="?"), None),
    (step("guest-file-write", handle=4), None),
    (step("guest-file-seek", handle=4, offset=0), None),
    (step("guest-file-seek", handle=4, offset=0, whence=9), None),
    (step("guest-file-seek", handle=4, offset=0, whence="SET"), None),
    (step("guest-file-seek", handle=4, offset=0, whence=[]), None),
    (step("guest-file-seek", handle=4, offset=0, whence=1.5), None),
    (step("guest-file-seek", handle=4, offset=0, whence=None), None),
    (step("guest-file-flush", handle=2**63 - 1), None),
    (step("guest-fstrim", minimum="1"), None),
    (step("guest-fsfreeze-freeze-list", mountpoints="/"), None),
    (step("guest-fsfreeze-freeze-list", mountpoints=["/nowhere", 1]), None),
    (step("guest-set-vcpus", vcpus={}), None),
    (step("guest-set-vcpus", vcpus=[5]), None),
    (step("guest-set-vcpus", vcpus=[{"logical-id": 0}]), None),
    (step("guest-set-vcpus", vcpus=[{"logical-id": 0, "online": 1}]), None),
    (step("guest-set-vcpus", vcpus=[{"logical-id": 0, "online": True, "x": 1}]), None),
    (step("guest-set-vcpus", vcpus=[{"logical-id": 0, "online": False}]), None),
    (step("guest-set-vcpus", vcpus=[{"logical-id": -1, "online": False}]), None),
    (step("guest-set-memory-blocks"), None),
    (step("guest-set-memory-blocks", mem_blks=[{"phys-index": "1", "online": True}]), None),
    (step("guest-set-memory-blocks", mem_blks=[{"phys-index": 1.5, "online": True}]), None),
    (step("guest-shutdown", mode="sideways"), None),
    (step("guest-shutdown", mode=None), None),
    (step("guest-suspend-ram", mode="deep"), None),
    (step("guest-set-time", time="now"), None),
    (step("guest-set-time", time=1e18), None),
    (step("guest-set-time", time=-5_000_000_000), "Invalid time"),  # 7.2 asks the kernel
    (step("guest-exec", arg=["x"]), None),
    (step("guest-exec", path="/bin/true", arg="x"), None),
    (step("guest-exec", path="/bin/true", env=[1]), None),
    (step("guest-exec", path="/bin/true", input_data="?"), None),
    (
        step("guest-exec", path="/bin/true", capture_output="x"),
        "Parameter 'capture-output' does not accept value 'x'",
    ),
    (
        step("guest-exec", path="/bin/true", capture_output=1),
        "Invalid parameter type for 'capture-output', expected: GuestExecCaptureOutput",
    ),
    (step("guest-exec", path="/nowhere/x"), NOT_RUN.format("/nowhere/x", "No such file or directory")),
    (step("guest-exec", path="qga-nothing"), NOT_RUN.format("qga-nothing", "No such file or directory")),
    (step("guest-exec", path="/etc/hosts"), NOT_RUN.format("/etc/hosts", "Permission denied")),
    (step("guest-exec", path="/etc"), NOT_RUN.format("/etc", "Permission denied")),
    (step("guest-exec-status", pid=0), ANY_TEXT),  # 10.2: "PID ld does not exist"
    (step("guest-exec-status", pid="1"), None),
    (step("guest-set-user-password", username="root", password="YQ=="), None),
    (step("guest-set-user-password", username="root", password="?", crypted=False), None),
    (step("guest-set-user-password", username="ro:ot", password="YQ==", crypted=False), None),
    (step("guest-set-user-password", username="root", password="YQpi", crypted=False), None),
    # 7.2 does not say what chpasswd said.
    (step("guest-set-user-password", username="nobody-here", password="YQ==", crypted=False), ANY_TEXT),
    (step("guest-ssh-get-authorized-keys"), None),
    (step("guest-ssh-get-authorized-keys", username="nobody-here"), ANY_TEXT),  # "…: Success"
    (step("guest-ssh-get-authorized-keys", username="daemon"), ANY_TEXT),
    (step("guest-ssh-add-authorized-keys", username="root", keys=["#x"]), None),
    (step("guest-ssh-add-authorized-keys", username="root", keys=["a\nb"]), None),
    (step("guest-ssh-add-authorized-keys", username="nobody-here", keys=["k"]), ANY_TEXT),
    (step("guest-ssh-remove-authorized-keys", username="root", keys="x"), None),
    (step("guest-ssh-remove-authorized-keys", username="nobody-here", keys=["k"]), ANY_TEXT),
)
