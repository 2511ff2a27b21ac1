"""The audit log in a guest: by default in the journal; on a filesystem that is frozen; rotated; full."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.peer import AgentError
from tests.vm.service import SERVICE

CONF = "/etc/qemu/qemu-ga.conf"
FILE = "/var/log/qga/audit.log"


def configure(guest: Guest, *lines: str) -> None:
    text = "\\n".join(("[general]", *lines, ""))
    guest.check(f"mkdir -p /etc/qemu; printf '{text}' > {CONF}; systemctl restart {SERVICE}", timeout=60)


def records(guest: Guest, path: str = FILE) -> list[dict[str, Any]]:
    return [json.loads(line) for line in guest.check(f"cat {path}").splitlines()]


def test_by_default_the_audit_log_is_in_the_journal(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        pid = peer.call("guest-exec", path="/bin/false", arg=["Hunter-2"])["pid"]
        while not peer.call("guest-exec-status", pid=pid)["exited"]:
            pass
    guest.check("journalctl --sync")
    said = guest.check(f"journalctl -q -b -t qemu-ga _SYSTEMD_UNIT={SERVICE} QGA_COMMAND=guest-exec -o json")
    start, end = (json.loads(line) for line in said.splitlines())
    assert (start["QGA_EVENT"], start["QGA_PID"]) == ("command", str(pid))
    assert (end["QGA_EVENT"], end["QGA_PID"], end["QGA_EXITCODE"]) == ("exit", str(pid), "1")
    assert end["QGA_OF"] == start["QGA_SEQ"]
    assert "Hunter-2" not in guest.check("journalctl -q -b -o export")
    # The record stands in for the line to syslog.
    assert "guest-exec called" not in guest.check("journalctl -q -b -t qemu-ga")


def entries(guest: Guest, *matches: str) -> list[dict[str, Any]]:
    guest.check("journalctl --sync", timeout=120)
    fields = "QGA_SEQ,QGA_COMMAND,QGA_EVENT,QGA_COUNT,QGA_COMMANDS"
    said = guest.check(f"journalctl -q -b -o json --output-fields={fields} {' '.join(matches)}", timeout=120)
    return [json.loads(line) for line in said.splitlines()]


def test_many_pings_do_not_hide_a_command(guest: Guest) -> None:
    """journald drops what comes too fast, and is too slow for some of it: none of that hides a command.

    The unit's limits are what journald goes by: systemd leaves each as a link's target, and none for a limit of 0.
    """
    limits = guest.check("cd /run/systemd/units; for f in log-rate-limit-*:" + SERVICE + "; do readlink $f; done")
    assert limits.split() == ["1000000", "1000000"]
    guest.check(f"systemctl restart {SERVICE}", timeout=60)  # records are numbered from 1
    pid = guest.check(f"systemctl show -P MainPID {SERVICE}").strip()
    with guest.peer(timeout=120) as peer:
        peer.sync()
        for _ in range(30):
            peer.send(b'{"execute":"guest-ping"}\n' * 500)
            for _ in range(500):
                peer.reply()
        peer.call("guest-get-diskstats")
        deadline = time.monotonic() + 120
        while not entries(guest, f"_PID={pid}", "QGA_COMMAND=guest-get-diskstats"):
            assert time.monotonic() < deadline
    written = entries(guest, f"_PID={pid}", "_TRANSPORT=journal")
    lost: dict[str, int] = {}
    for entry in written:
        if entry["QGA_EVENT"] == "lost":
            for command, count in json.loads(entry["QGA_COMMANDS"]).items():
                lost[command] = lost.get(command, 0) + count
    assert lost.keys() <= {"guest-ping"}
    assert sum(e.get("QGA_COMMAND") == "guest-ping" for e in written) + lost.get("guest-ping", 0) == 15_000
    numbers = [int(entry["QGA_SEQ"]) for entry in written]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == len(numbers) + sum(lost.values())


def test_audit_log_on_a_frozen_filesystem_is_written_at_the_thaw(guest: Guest) -> None:
    guest.check("mkdir -p /var/log/qga")
    configure(guest, f"audit-log={FILE}")
    try:
        with guest.peer() as peer:
            peer.sync()
            assert peer.call("guest-fsfreeze-freeze", timeout=60) >= 1
            for _ in range(50):
                peer.call("guest-ping")
            assert peer.call("guest-fsfreeze-status") == "frozen"
            peer.call("guest-fsfreeze-thaw", timeout=60)
            peer.call("guest-get-time")
        commands = [record.get("command") for record in records(guest)]
        begin, end = commands.index("guest-fsfreeze-freeze"), commands.index("guest-fsfreeze-thaw")
        assert commands[begin + 1 : end] == ["guest-ping"] * 50 + ["guest-fsfreeze-status"]
        assert commands[-1] == "guest-get-time"
        assert [r["seq"] for r in records(guest)] == list(range(1, len(commands) + 1))
        assert guest.check(f"stat -c %a {FILE}").strip() == "600"
    finally:
        guest.check(f"rm -r {CONF} /var/log/qga; systemctl restart {SERVICE}", timeout=60)


def test_a_full_disk_blocks_commands_where_the_audit_log_is_required(guest: Guest) -> None:
    guest.check("mkdir -p /var/log/qga; mount -t tmpfs -o size=64k tmpfs /var/log/qga")
    configure(guest, f"audit-log={FILE}", "audit-required=true")
    try:
        with guest.peer() as peer:
            peer.sync()
            assert peer.call("guest-get-time")
            guest.shell("cat /dev/zero > /var/log/qga/fill")
            with pytest.raises(AgentError, match="guest-get-osinfo has been disabled"):  # noqa: PT012
                for _ in range(2000):
                    peer.call("guest-get-osinfo")
            assert peer.call("guest-ping") == {}
            guest.check("rm /var/log/qga/fill")
            assert peer.call("guest-ping") == {}
            assert peer.call("guest-get-osinfo")["id"] == "debian"
        seqs = [record["seq"] for record in records(guest)]  # no half line is left
        assert seqs == list(range(1, len(seqs) + 1))
        journal = guest.check(f"journalctl -q -b -u {SERVICE} -p warning")
        assert journal.count(f"{FILE} cannot be written: No space left on device") == 1
    finally:
        guest.check(f"rm -r {CONF}; systemctl restart {SERVICE}; umount /var/log/qga; rmdir /var/log/qga", timeout=60)
