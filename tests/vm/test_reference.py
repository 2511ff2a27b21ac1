"""Our agent beside QEMU's own, 7.2 of Debian 12, in one guest: the same requests must get the same replies.

Values that change meanwhile are bracketed: ours is queried before and after QEMU's, and each number of QEMU's must
lie between ours. Where QEMU 7.2 says something else than 10.2, which ours follows, a row says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.until import until
from tests.vm.comparisons import (
    ANY_TEXT,
    DONE,
    HANDLE,
    NOT_A_REQUEST,
    PROGRAMS,
    READ,
    REFUSED,
    SCRATCH,
    Tidy,
    by,
    step,
)
from tests.vm.guest import REFERENCE_PORT, Guest
from tests.vm.image import Image
from tests.vm.interesting import furnish, interesting_guest
from tests.vm.peer import Peer


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    with interesting_guest(image) as guest:
        guest.boot()
        furnish(guest)
        yield guest


@pytest.fixture(scope="module")
def peers(guest: Guest) -> Iterator[tuple[Peer, Peer]]:
    """Ours and the reference's."""
    with guest.peer() as ours, guest.peer(REFERENCE_PORT) as theirs:
        yield ours, theirs


@pytest.fixture
def ours(peers: tuple[Peer, Peer]) -> Peer:
    peers[0].sync()
    return peers[0]


@pytest.fixture
def theirs(peers: tuple[Peer, Peer]) -> Peer:
    peers[1].sync()
    return peers[1]


def ask(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    """The whole reply."""
    peer.send(json.dumps(request).encode() + b"\n")
    reply: dict[str, Any] = json.loads(peer.read_line(peer.timeout))
    return reply


def returned(peer: Peer, request: dict[str, Any]) -> Any:
    reply = ask(peer, request)
    assert "return" in reply, reply
    return reply["return"]


def commands(peer: Peer) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in peer.call("guest-info")["supported_commands"]}


def need(peer: Peer, *names: str) -> None:
    missing = [name for name in names if name not in commands(peer)]
    if missing:
        pytest.skip(f"ours has no {', '.join(missing)}")


# What is read


def bracketed(before: Any, between: Any, after: Any) -> Any:
    """Return the middle reply, with each number that lies between the other two replaced by the first."""
    if isinstance(between, dict) and isinstance(before, dict) and isinstance(after, dict):
        return {
            key: bracketed(before[key], value, after[key]) if key in before and key in after else value
            for key, value in between.items()
        }
    if isinstance(between, list) and isinstance(before, list) and isinstance(after, list):
        if len(before) == len(between) == len(after):
            return [bracketed(*items) for items in zip(before, between, after, strict=True)]
        return between
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (before, between, after)):
        return between if type(between) is type(before) else f"{between!r}, not {before!r}"
    return before if min(before, after) <= between <= max(before, after) else between


@pytest.mark.parametrize("command", READ)
def test_reads_the_same(command: str, ours: Peer, theirs: Peer) -> None:
    need(ours, command)
    row = READ[command]
    request = {"execute": command, **({"arguments": row.arguments} if row.arguments else {})}
    before, between, after = (returned(peer, request) for peer in (ours, theirs, ours))
    mine, other = row.tidy(before), row.tidy(row.newer(between))
    assert bracketed(mine, other, row.tidy(after)) == mine


def test_every_command_that_only_reads_is_compared(theirs: Peer) -> None:
    """The list is maintained by hand and must be complete."""
    reading = {n for n in commands(theirs) if n.startswith("guest-get-") or "-get-" in n or n.endswith("-status")}
    elsewhere = {"guest-get-devices", "guest-exec-status"}  # only for Windows; with guest-exec
    assert reading - elsewhere - set(READ) == set()


def test_info_lists_the_same_commands(ours: Peer, theirs: Peer) -> None:
    info = ours.call("guest-info")
    assert (info["version"], set(info)) == ("10.2.2", set(theirs.call("guest-info")))
    mine, other = commands(ours), {name: entry for name, entry in commands(theirs).items() if entry["enabled"]}
    assert {name: mine[name] for name in mine if name in other} == {n: e for n, e in other.items() if n in mine}
    if missing := sorted(set(other) - set(mine)):
        pytest.skip(f"ours has no {', '.join(missing)}")
    assert set(mine) - set(other) == {"guest-get-load", "guest-network-get-route"}  # newer than 7.2


def test_sync_delimited_is_the_same_to_the_byte(ours: Peer, theirs: Peer) -> None:
    request = b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 7}, "id": "x"}{"execute": "guest-ping"}\n'
    said = []
    for peer in (ours, theirs):
        peer.send(request)
        complaint, reply, ping = (peer.read_line(peer.timeout) for _ in range(3))
        assert reply[:1] == b"\xff"
        said.append([json.loads(complaint), json.loads(reply[1:]), json.loads(ping)])
    assert said[0] == said[1]


# What QEMU 7.2 does not have


def test_load_is_what_the_kernel_says(guest: Guest, ours: Peer) -> None:
    need(ours, "guest-get-load")
    before = ours.call("guest-get-load")
    shown = map(float, guest.check("cat /proc/loadavg").split()[:3])
    after = ours.call("guest-get-load")
    for name, value in zip(("load1m", "load5m", "load15m"), shown, strict=True):
        low, high = sorted((before[name], after[name]))
        assert low - 0.01 <= value <= high + 0.01


def test_sizes_of_filesystems(guest: Guest, ours: Peer) -> None:
    need(ours, "guest-get-fsinfo")
    for filesystem in ours.call("guest-get-fsinfo"):
        if "\ufffd" not in filesystem["mountpoint"]:  # invalid UTF-8 cannot be sent in a request
            path = "'" + filesystem["mountpoint"] + "'"
            blocks, size = map(int, guest.check(f"stat -f -c '%b %S' -- {path}").split())
            assert filesystem["total-bytes-privileged"] == blocks * size


def test_routes_are_those_of_ip(guest: Guest, ours: Peer) -> None:
    need(ours, "guest-network-get-route")
    routes = ours.call("guest-network-get-route")
    mine = {
        (r["iface"], r["destination"], prefix_of(r["mask"]), r["gateway"], r["metric"])
        for r in routes
        if r["version"] == 4
    }
    assert mine == {
        (r.get("dev", "*"), *network(r["dst"], "0.0.0.0"), r.get("gateway", "0.0.0.0"), r.get("metric", 0))
        for r in json.loads(guest.check("ip -N -j -4 -d route show table main"))
    }
    mine = {
        (r["iface"], r["destination"], int(r["desprefixlen"]), r["nexthop"], r["metric"])
        for r in routes
        if r["version"] == 6
    }
    shown = {
        (r["dev"], *network(r["dst"], "::"), r.get("gateway", "::"), r["metric"])
        for r in json.loads(guest.check("ip -N -j -6 -d route show table main"))
    }
    assert shown - mine == set()


def prefix_of(mask: str) -> int:
    return sum(int(part).bit_count() for part in mask.split("."))


def network(shown: str, nowhere: str) -> tuple[str, int]:
    if shown == "default":
        return nowhere, 0
    address, _, prefix = shown.partition("/")
    return address, int(prefix or (128 if ":" in address else 32))


def test_plugged_memory_comes_online(guest: Guest, ours: Peer, theirs: Peer) -> None:
    need(ours, "guest-set-memory-blocks", "guest-get-memory-block-info")
    total = "awk '/^MemTotal/ {print $2}' /proc/meminfo"
    before = int(guest.check(total))
    answer = ours.call("guest-set-memory-blocks", mem_blks=[{"phys-index": 33, "online": True}])
    assert answer == [{"phys-index": 33, "response": "success"}]
    assert guest.check("cat /sys/devices/system/memory/memory33/state") == "online\n"
    assert int(guest.check(total)) - before == ours.call("guest-get-memory-block-info")["size"] // 1024
    blocks = by("phys-index")(theirs.call("guest-get-memory-blocks"))
    assert blocks == ours.call("guest-get-memory-blocks")
    assert blocks[-1]["online"]


# What is done: the same requests to each, from the same state, earn the same replies


@pytest.mark.parametrize("name", DONE)
def test_does_the_same(name: str, guest: Guest, ours: Peer, theirs: Peer) -> None:
    steps, tidy = DONE[name]
    need(ours, *(request["execute"] for request in steps))
    assert normalised_replies(ours, steps, tidy, "/run/ours") == normalised_replies(
        theirs, steps, tidy, "/run/theirs"
    )
    mine, other = (guest.shell(f"stat -c %a {file}; sha256sum <{file}")[1] for file in ("/run/ours", "/run/theirs"))
    assert mine.replace("ours", "theirs") == other
    guest.check("rm -f /run/ours /run/theirs")


def normalised_replies(peer: Peer, steps: list[dict[str, Any]], tidy: Tidy, scratch: str) -> list[Any]:
    """The replies, in a form that can be compared: with no handle and no file name of the agent's own."""
    replies, handle = [], 0
    for request in steps:
        arguments = {
            key: {HANDLE: handle, SCRATCH: scratch}.get(value, value) if isinstance(value, str) else value
            for key, value in request["arguments"].items()
        }
        reply = ask(peer, {"execute": request["execute"], "arguments": arguments})
        if request["execute"] == "guest-file-open" and "return" in reply:
            handle, reply["return"] = reply["return"], "a handle"
        if "return" in reply:
            reply["return"] = tidy(reply["return"])
        replies.append((request["execute"], json.loads(json.dumps(reply).replace(f"'{handle}'", "HANDLE"))))
    return replies


@pytest.mark.parametrize("minimum", [4096, -1])
def test_trims_the_same(minimum: int, ours: Peer, theirs: Peer) -> None:
    need(ours, "guest-fstrim")

    def paths(peer: Peer) -> Any:
        reply = returned(peer, step("guest-fstrim", minimum=minimum))["paths"]
        # What one agent has trimmed, the other need not trim again.
        return [{key: value for key, value in path.items() if key != "trimmed"} for path in reply]

    again = ("/srv/bound", "/srv/subvolume")  # 7.2 trims a device once for every mount
    assert paths(ours) == [path for path in paths(theirs) if path["path"] not in again]


@pytest.mark.parametrize("name", PROGRAMS)
def test_runs_the_same(name: str, ours: Peer, theirs: Peer) -> None:
    need(ours, "guest-exec", "guest-exec-status")
    assert ran(ours, PROGRAMS[name]) == ran(theirs, PROGRAMS[name])


def ran(peer: Peer, arguments: dict[str, Any]) -> Any:
    reply = ask(peer, {"execute": "guest-exec", "arguments": arguments})
    if "error" in reply:
        text = reply["error"]["desc"]
        # 7.2 says whose error it was; newer ones only what it was.
        reply["error"]["desc"] = text.removeprefix("Guest agent command failed, error was '").removesuffix("'")
        return reply
    pid = reply["return"]["pid"]

    def look() -> Any:
        status = ask(peer, {"execute": "guest-exec-status", "arguments": {"pid": pid}})
        return status if status.get("return", {}).get("exited", True) else None

    return until(look, 60)


# What is refused


@pytest.mark.parametrize("text", NOT_A_REQUEST)
def test_complains_the_same(text: str, ours: Peer, theirs: Peer) -> None:
    assert refusals(ours, text) == refusals(theirs, text)


def described(row: tuple[dict[str, Any], str | None]) -> str:
    return f"{row[0]['execute']} {json.dumps(row[0]['arguments'])}"


@pytest.mark.parametrize("row", REFUSED, ids=described)
def test_refuses_the_same(row: tuple[dict[str, Any], str | None], ours: Peer, theirs: Peer) -> None:
    request, expected = row
    if request["execute"] in set(commands(theirs)) - {"guest-get-devices"}:
        need(ours, request["execute"])
    (mine,), (other,) = (refusals(peer, json.dumps(request)) for peer in (ours, theirs))
    if expected == ANY_TEXT:
        mine["error"]["desc"] = other["error"]["desc"]
    elif expected is not None:
        other["error"]["desc"] = expected
    assert mine == other


def refusals(peer: Peer, text: str) -> list[dict[str, Any]]:
    """Return every reply to it: invalid JSON may cause several."""
    peer.send(text.encode("latin-1") + json.dumps(step("guest-sync", id=4711)).encode() + b"\n")
    replies: list[dict[str, Any]] = []
    while (reply := json.loads(peer.read_line(peer.timeout))) != {"return": 4711}:
        assert "error" in reply, f"not refused: {reply}"
        replies.append(reply)
    return replies
