"""The agent in a guest with a real host on virtio-serial, which disconnects, ignores it and unplugs its port."""

from __future__ import annotations

import json
import time

import pytest

from tests.until import until
from tests.vm.guest import AGENT_PORT, Guest
from tests.vm.peer import Peer
from tests.vm.service import SERVICE, answers, pid, settle, sleeps


def test_started_by_systemd_when_the_port_appeared(guest: Guest) -> None:
    shown = guest.check(f"systemctl show -P ActiveState -P Type -P NRestarts -P ExecMainStatus {SERVICE}")
    assert sorted(shown.split()) == ["0", "0", "active", "notify"]
    assert guest.check("/opt/qga/bin/qemu-ga --version").startswith("QEMU Guest Agent 10.2.2\nqga ")


def test_sync_ping_and_info(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        assert peer.call("guest-ping") == {}
        assert peer.call("guest-sync", id=-5) == -5
        info = peer.call("guest-info")
        assert info["version"] == "10.2.2"
        silent = {c["name"] for c in info["supported_commands"] if not c["success-response"]}
        assert silent == {"guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"}


def test_two_requests_in_one_write_are_answered_in_order(guest: Guest) -> None:
    """As Proxmox VE sends them: exactly two lines come, each ending right after its brace."""
    with guest.peer() as peer:
        peer.send(b'{"execute":"guest-sync-delimited","arguments":{"id":77}}\n{"execute":"guest-ping"}\n')
        said = peer.read_available(3)
        assert said.count(b"\n") == 2
        stale, _, fresh = said.partition(b"\xff")
        assert stale == b""
        assert [json.loads(line) for line in fresh.splitlines()] == [{"return": 77}, {"return": {}}]


def test_idle_agent_does_not_wake_up_with_a_host_and_without(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        assert sleeps(guest)
    assert sleeps(guest)
    assert answers(guest)


def test_host_that_leaves_in_the_middle_of_a_request(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        peer.send(b'{"execute": "guest-sync", "arguments": {"id": 1')
    settle(guest)
    with guest.peer() as peer:
        assert peer.call("guest-ping") == {}


def test_host_that_sends_and_leaves_at_once_is_obeyed(guest: Guest) -> None:
    """As `echo … | socat - unix:…` does: the request is carried out although no client waits for the reply."""
    with guest.peer() as peer:
        peer.request("guest-ping")
    assert answers(guest)


def test_host_that_never_reads(guest: Guest) -> None:
    """The agent stops reading, sleeps, and obeys SIGTERM; the next host is served."""
    with guest.peer() as peer:
        with pytest.raises(TimeoutError):  # noqa: PT012
            while True:
                peer.send(b'{"execute":"guest-info"}\n' * 2000, timeout=5)
        assert sleeps(guest)
        before = pid(guest)
        begun = time.monotonic()
        guest.check(f"systemctl restart {SERVICE}", timeout=60)
        assert time.monotonic() - begun < 30
        assert pid(guest) != before
    assert answers(guest)


def test_host_that_leaves_with_replies_unread(guest: Guest) -> None:
    for _ in range(5):
        with guest.peer() as peer:
            peer.send(b'{"execute":"guest-info"}\n' * 500, timeout=30)
    assert answers(guest)
    assert guest.check(f"systemctl is-active {SERVICE}").strip() == "active"


def test_killed_agent_is_started_again(guest: Guest) -> None:
    before = pid(guest)
    guest.check(f"kill -KILL {before}")
    until(lambda: guest.shell(f"systemctl is-active {SERVICE}")[0] == 0 and pid(guest) not in ("0", before))
    assert answers(guest)


def test_port_that_is_unplugged_and_plugged_again(guest: Guest) -> None:
    """systemd stops the agent with the port, and udev starts it with the port."""
    guest.qmp("device_del", id="plug0")
    guest.wait_event("DEVICE_DELETED")
    guest.check(f"for i in $(seq 50); do systemctl is-active -q {SERVICE} || break; sleep 0.2; done")
    assert guest.shell(f"systemctl is-active {SERVICE}")[1].strip() != "active"
    until(lambda: "is lost: " in guest.check(f"journalctl -q -u {SERVICE} -p err"))  # the journal knows its priority
    guest.qmp("device_add", driver="virtserialport", id="plug0", chardev="port0", name=AGENT_PORT)
    assert answers(guest)


def test_retry_path_outlives_its_port_and_finds_it_without_udev(guest: Guest) -> None:
    """A second agent, on a port of its own, without systemd and without the link that udev makes."""
    port = "/dev/virtio-ports/org.qga.test.reference"
    guest.check(f"rm {port}; mkdir -p /run/second")
    guest.check("systemd-run --unit second /opt/qga/bin/qemu-ga --retry-path -t /run/second -p " + port)
    socket = guest.port("org.qga.test.reference")
    with Peer(socket) as peer:
        peer.sync()
    guest.qmp("device_del", id="plug1")
    guest.wait_event("DEVICE_DELETED")
    guest.check("until journalctl -q -u second | grep -q 'is lost'; do sleep 0.1; done")
    guest.qmp("device_add", driver="virtserialport", id="plug1", chardev="port1", name="org.qga.test.reference")
    with Peer(socket, timeout=60) as peer:
        peer.sync()
    assert "is lost" in guest.check("journalctl -q -u second")
    begun = time.monotonic()
    guest.check("systemctl stop second")
    assert time.monotonic() - begun < 20


def test_vsock(guest: Guest) -> None:
    """Through the guest's own loopback, CID 1: no vhost is needed."""
    guest.check("modprobe vsock_loopback; mkdir -p /run/vsock")
    options = "-m vsock-listen -p 4294967295:1234 -t /run/vsock"
    guest.check(f"systemd-run --unit vsock -p Type=notify /opt/qga/bin/qemu-ga {options}")
    client = """python3 - <<'EOF'
import socket
for _ in range(2):
    with socket.socket(socket.AF_VSOCK) as sock:
        sock.connect((1, 1234))
        sock.sendall(b'{"execute":"guest-sync","arguments":{"id":42}}')
        print(sock.recv(100).decode(), end="")
EOF
"""
    assert guest.check(client) == '{"return":42}\n' * 2
    assert guest.check("/opt/qga/bin/qga -c vsock:1:1234 time").startswith("20")
    guest.check("systemctl stop vsock")


def test_shutdown_powers_the_guest_off(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        peer.request("guest-shutdown")
        assert guest.wait_exit(120) == 0
