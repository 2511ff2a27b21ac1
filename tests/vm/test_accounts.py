"""Passwords, SSH keys and the clock of a real guest, verified without the agent."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest
from tests.vm.peer import AgentError

KEYS = "/home/ann/.ssh/authorized_keys"


@pytest.fixture(scope="module")
def ann(guest: Guest) -> Iterator[Guest]:
    guest.check("useradd --create-home ann")
    yield guest
    guest.check("userdel --remove ann")


def password_hash(guest: Guest) -> str:
    return guest.check("getent shadow ann").split(":")[1]


def test_password_of_a_user(ann: Guest) -> None:
    with ann.peer() as peer:
        peer.sync()
        password = base64.b64encode(b"Open: Sesame").decode()
        assert peer.call("guest-set-user-password", username="ann", password=password, crypted=False) == {}
        crypted = password_hash(ann)
        verify = f"import crypt; print(crypt.crypt('Open: Sesame', '{crypted}') == '{crypted}')"
        assert ann.check(f'python3 -W ignore -c "{verify}"'.replace("$", "\\$")).strip() == "True"
        hashed = "$6$salt$" + "x" * 86
        again = base64.b64encode(hashed.encode()).decode()
        assert peer.call("guest-set-user-password", username="ann", password=again, crypted=True) == {}
        assert password_hash(ann) == hashed
        with pytest.raises(AgentError, match="child process has failed to set user password: chpasswd: "):
            peer.call("guest-set-user-password", username="nobody-of-that-name", password=password, crypted=False)


def test_keys_of_a_user(ann: Guest) -> None:
    with ann.peer() as peer:
        peer.sync()
        assert peer.call("guest-ssh-add-authorized-keys", username="ann", keys=["ssh-rsa A", "ssh-rsa B"]) == {}
        assert ann.check(f"stat -c '%U %G %a' {KEYS} /home/ann/.ssh").split("\n")[:2] == [
            "ann ann 600",
            "ann ann 700",
        ]
        assert peer.call("guest-ssh-get-authorized-keys", username="ann") == {"keys": ["ssh-rsa A", "ssh-rsa B"]}
        assert peer.call("guest-ssh-remove-authorized-keys", username="ann", keys=["ssh-rsa A"]) == {}
        assert ann.check(f"cat {KEYS}").strip() == "ssh-rsa B"


def test_agent_does_not_follow_a_link_of_a_user(ann: Guest) -> None:
    with ann.peer() as peer:
        peer.sync()
        ann.check("rm -rf /home/ann/.ssh; ln -s /root/.ssh /home/ann/.ssh; mkdir -p /root/.ssh")
        with pytest.raises(AgentError, match="its directory is a symbolic link"):
            peer.call("guest-ssh-add-authorized-keys", username="ann", keys=["ssh-rsa A"])
        assert ann.check("ls -A /root/.ssh").strip() == ""
        ann.check("rm /home/ann/.ssh; rmdir /root/.ssh")


def test_clock_and_hardware_clock(guest: Guest) -> None:
    """Set to a year beyond what QEMU's agent takes, and set back from the hardware clock and by the host."""
    with guest.peer() as peer:
        peer.sync()
        now = time.time_ns()
        assert peer.call("guest-set-time", time=2_000_000_000 * 10**9) == {}
        assert 2_000_000_000 <= int(guest.check("date +%s")) < 2_000_000_300
        assert 2_000_000_000 <= int(guest.check("cat /sys/class/rtc/rtc0/since_epoch")) < 2_000_000_300
        assert 0 <= peer.call("guest-get-time") - 2_000_000_000 * 10**9 < 300 * 10**9
        guest.check("date --set @1900000000")
        assert peer.call("guest-set-time") == {}
        assert 2_000_000_000 <= int(guest.check("date +%s")) < 2_000_000_300
        with pytest.raises(AgentError, match="Failed to set time to guest: Invalid argument"):
            peer.call("guest-set-time", time=2**63 - 1)
        guest.check("mount --bind /bin/false /usr/sbin/hwclock")
        try:
            assert peer.call("guest-set-time", time=now) == {}
            with pytest.raises(AgentError, match="failed to set hardware clock to system time: exit status 1"):
                peer.call("guest-set-time")
        finally:
            guest.check("umount /usr/sbin/hwclock")
        assert peer.call("guest-set-time", time=time.time_ns()) == {}
