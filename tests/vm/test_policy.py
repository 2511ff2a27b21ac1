"""A policy in a guest with systemd: the default file, a reload that loses nothing, not even a freeze."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.image import Image
from tests.vm.peer import AgentError, Peer
from tests.vm.service import SERVICE, pid, settle

POLICY = "/etc/qemu/qga-policy.toml"
REFUSED = "has been disabled: the command is not allowed"

READ_LOGS = """default = "deny"
[[rule]]
allow = ["guest-ping", "guest-sync*", "guest-info", "guest-fsfreeze-*"]
[[rule]]
allow = ["guest-file-open"]
path = ["/var/log/**", "/srv/**"]
"""
PING_ONLY = """default = "deny"
[[rule]]
allow = ["guest-ping", "guest-sync*"]
"""


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    with Guest(image, swap=False) as guest:
        guest.boot()
        yield guest


@pytest.fixture(autouse=True)
def _nothing_stays(guest: Guest) -> Iterator[None]:
    yield
    guest.shell("fsfreeze -u /")
    guest.shell(f"rm -f {POLICY}; systemctl restart {SERVICE}")


def put(guest: Guest, text: str) -> None:
    guest.check(f"mkdir -p /etc/qemu; cat >{POLICY} <<'EOF'\n{text}EOF")


def reload(guest: Guest) -> None:
    guest.check(f"systemctl reload {SERVICE}")
    settle(guest)  # systemd has only sent the signal
    assert guest.check(f"systemctl is-active {SERVICE}").strip() == "active"


def refused(peer: Peer, name: str, **arguments: Any) -> None:
    with pytest.raises(AgentError, match=REFUSED):
        peer.call(name, **arguments)


def test_the_default_file_counts(guest: Guest) -> None:
    put(guest, READ_LOGS)
    guest.check(f"echo hello >/srv/there; ln -sf /etc/shadow /srv/link; systemctl restart {SERVICE}")
    with guest.peer(timeout=60) as peer:
        peer.sync()
        peer.call("guest-file-close", handle=peer.call("guest-file-open", path="/srv/there"))
        for path in (
            "/etc/shadow",
            "/srv/link",
            "/srv/../etc/shadow",
            "/proc/1/root/etc/shadow",
            "/proc/self/root/etc/shadow",
        ):
            refused(peer, "guest-file-open", path=path)
        refused(peer, "guest-exec", path="/usr/bin/id")
        refused(peer, "guest-get-osinfo")


def test_rules_apply_to_the_mounts_at_the_time_of_use(guest: Guest) -> None:
    """systemd.automount(5): walking there by descriptors mounts it, as opening its path would."""
    put(guest, READ_LOGS)
    guest.check("""mkdir -p /srv/auto; cd /run/systemd/system
printf '[Mount]\\nWhat=/usr\\nWhere=/srv/auto\\nType=none\\nOptions=bind\\n' >srv-auto.mount
printf '[Automount]\\nWhere=/srv/auto\\n' >srv-auto.automount
systemctl daemon-reload; systemctl start srv-auto.automount""")
    guest.check(f"systemctl restart {SERVICE}")
    assert guest.shell("systemctl is-active srv-auto.mount")[1].strip() == "inactive"
    with guest.peer(timeout=60) as peer:
        peer.sync()
        peer.call("guest-file-close", handle=peer.call("guest-file-open", path="/srv/auto/lib/os-release"))
    assert guest.shell("systemctl is-active srv-auto.mount")[1].strip() == "active"
    guest.check("systemctl stop srv-auto.automount srv-auto.mount")


def test_another_mount_namespace_does_not_bypass_a_rule(guest: Guest) -> None:
    """/proc/PID/root of a process with another root: the link's text is /, which names the guest's own root."""
    put(guest, READ_LOGS)
    guest.check("systemd-run -q --unit other -p PrivateTmp=yes -p TemporaryFileSystem=/srv sleep 600")
    guest.check(f"echo hello >/srv/there; systemctl restart {SERVICE}")
    other = guest.check("systemctl show -P MainPID other").strip()
    with guest.peer(timeout=60) as peer:
        peer.sync()
        handle = peer.call("guest-file-open", path=f"/proc/{other}/root/srv/there")
        assert peer.call("guest-file-read", handle=handle)["count"] == len("hello\n")
        refused(peer, "guest-file-open", path=f"/proc/{other}/root/etc/shadow")
    guest.check("systemctl stop other")


def test_reload_while_frozen(guest: Guest) -> None:
    """The freeze survives and can be thawed whatever the new policy says; afterwards the new policy applies."""
    put(guest, READ_LOGS)
    guest.check(f"systemctl restart {SERVICE}; cp {POLICY} /run/old.toml")
    with guest.peer(timeout=60) as peer:
        peer.sync()
        before = pid(guest)
        guest.check("echo hello >/srv/there")
        handle = peer.call("guest-file-open", path="/srv/there")
        # Nothing can be written once it is frozen: the policy to be is in memory already.
        guest.check(f"cat >/run/new.toml <<'EOF'\n{PING_ONLY}EOF\nrm {POLICY}; ln -s /run/policy.toml {POLICY}")
        guest.check("cp /run/old.toml /run/policy.toml")
        assert peer.call("guest-fsfreeze-freeze") >= 1
        guest.check("cp /run/new.toml /run/policy.toml")
        reload(guest)
        assert peer.call("guest-fsfreeze-status") == "frozen"
        refused(peer, "guest-file-read", handle=handle)
        assert peer.call("guest-fsfreeze-thaw") >= 1
        refused(peer, "guest-fsfreeze-status")
        refused(peer, "guest-fsfreeze-freeze")
        refused(peer, "guest-info")
        guest.check("cp /run/old.toml /run/policy.toml")
        reload(guest)
        with pytest.raises(AgentError, match="has not been found"):  # it was closed after the thaw
            peer.call("guest-file-read", handle=handle)
        assert peer.call("guest-file-close", handle=peer.call("guest-file-open", path="/srv/there")) == {}
        assert pid(guest) == before
        guest.check("echo x >/srv/written; sync /srv/written")


def test_an_invalid_policy_file(guest: Guest) -> None:
    """A reload refuses it and an agent does not start with it; both report why."""
    put(guest, READ_LOGS)
    guest.check(f"systemctl restart {SERVICE}")
    with guest.peer(timeout=60) as peer:
        peer.sync()
        put(guest, 'defualt = "allow"\n')
        reload(guest)
        refused(peer, "guest-get-osinfo")
        assert peer.call("guest-ping") == {}
    said = guest.check(f"journalctl -b -u {SERVICE} -o cat")
    assert f"{POLICY}, line 1: unknown key 'defualt', expected default or [[rule]]" in said
    assert "keeping the previous one" in said
    status, text = guest.shell("/opt/qga/bin/qemu-ga --check-config")
    assert status == 1
    assert "problem: " in text
    guest.shell(f"systemctl restart {SERVICE}")
    assert guest.shell(f"systemctl is-active {SERVICE}")[1].strip() != "active"
    put(guest, PING_ONLY)
    with guest.peer(timeout=60) as peer:  # systemd goes on trying
        peer.sync(timeout=60)
        refused(peer, "guest-get-osinfo")
    assert guest.shell("""/opt/qga/bin/qemu-ga --explain '{"execute":"guest-get-osinfo"}'""")[0] == 3
