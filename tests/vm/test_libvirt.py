"""A real libvirt drives the agent, as README's XML has it; ``make libvirt`` runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from qga.client import Client, CommandNotFound
from tests.until import until
from tests.vm.guest import AGENT_PORT
from tests.vm.image import Image
from tests.vm.libvirt import Domain, Libvirt

pytestmark = pytest.mark.skipif("QGA_LIBVIRT" not in os.environ, reason="QGA_LIBVIRT is not set: make libvirt does")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx2Fr5dPjUhJXxEGOs5pRUPRiWAiUl0jLzDzZ4Zm5Qz joe@here"


@pytest.fixture(scope="module")
def libvirt() -> Iterator[Libvirt]:
    with Libvirt() as libvirt:
        yield libvirt


@pytest.fixture(scope="module")
def domain(image: Image, libvirt: Libvirt) -> Iterator[Domain]:
    with Domain(image, libvirt) as domain:
        domain.boot()
        until(lambda: connected(domain))
        yield domain


def connected(domain: Domain) -> bool:
    """Whether libvirt knows of an agent in the guest."""
    return f"name='{AGENT_PORT}' state='connected'" in domain.virsh("dumpxml")


@pytest.fixture(autouse=True)
def thawed(domain: Domain) -> Iterator[None]:
    yield
    with contextlib.suppress(AssertionError):  # it is off
        ask(domain, "guest-fsfreeze-thaw")


def test_what_the_guest_is(domain: Domain) -> None:
    assert domain.virsh("domhostname") == "qga-guest"
    output = domain.virsh("guestinfo")
    for line in ("os.id *: debian", "hostname *: qga-guest", "fs.count *: [1-9]", "timezone.name *: UTC"):
        assert re.search(line, output), output
    assert re.search(r"/ +vda.? +ext4", domain.virsh("domfsinfo"))
    assert "ipv4" in domain.virsh("domifaddr", "--source", "agent")


def test_freeze(domain: Domain) -> None:
    assert "Froze 1" in domain.virsh("domfsfreeze")
    assert json.loads(ask(domain, "guest-fsfreeze-status")) == {"return": "frozen"}
    assert "Thawed 1" in domain.virsh("domfsthaw")
    assert "Froze 1" in domain.virsh("domfsfreeze", "--mountpoint", "/")
    assert "Thawed 1" in domain.virsh("domfsthaw")
    domain.virsh("domfstrim", timeout=300)


def test_snapshot_quiesce(domain: Domain) -> None:
    before = freezes(domain)
    which = ("--diskspec", "vda,file=" + str(domain.directory / "snap.qcow2"), "--diskspec", "vdb,snapshot=no")
    domain.virsh("snapshot-create-as", "snap", "--disk-only", "--quiesce", "--no-metadata", *which)
    assert freezes(domain) == before + 1
    assert json.loads(ask(domain, "guest-fsfreeze-status")) == {"return": "thawed"}
    domain.virsh("blockcommit", "vda", "--shallow", "--active", "--pivot", "--wait")  # the image stays


def freezes(domain: Domain) -> int:
    return int(domain.check("journalctl -u qemu-ga | grep -c guest-fsfreeze-freeze || true"))


def test_processors(domain: Domain) -> None:
    assert re.search(r"online *: 0-1", domain.virsh("guestvcpus"))
    domain.virsh("setvcpus", "1", "--guest")
    assert domain.check("cat /sys/devices/system/cpu/online") == "0\n"
    domain.virsh("setvcpus", "2", "--guest")
    assert domain.check("cat /sys/devices/system/cpu/online") == "0-1\n"


def test_time(domain: Domain) -> None:
    domain.virsh("domtime", "--time", "1000000000")
    assert domain.virsh("domtime").startswith("Time: 100000000")
    domain.virsh("domtime", "--now")
    assert abs(int(domain.virsh("domtime").split()[1]) - time.time()) < 30
    domain.virsh("domtime", "--sync")


def test_accounts(domain: Domain) -> None:
    domain.check("useradd -m joe")
    domain.virsh("set-user-password", "joe", "secret")
    domain.check("getent shadow joe | grep -q ':[$]'")
    key = domain.directory / "key"
    key.write_text(KEY + "\n")
    domain.virsh("set-user-sshkeys", "joe", "--file", str(key))
    assert domain.virsh("get-user-sshkeys", "joe") == KEY
    domain.virsh("set-user-sshkeys", "joe", "--remove", "--file", str(key))
    assert domain.virsh("get-user-sshkeys", "joe") == ""


def test_the_tools_libvirt_transport(domain: Domain, libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", libvirt.uri)
    words = [sys.executable, "-m", "qga.tool", "-c", f"libvirt:{domain.name}"]
    done = subprocess.run(
        [*words, "exec", "--", "sh", "-c", "cat /etc/hostname; exit 3"], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (3, b"qga-guest\n")
    (domain.directory / "a").write_bytes(os.urandom(300_000))
    with Client(f"libvirt:{domain.name}") as guest:
        assert guest.upload(str(domain.directory / "a"), "/root/a").verified
        assert guest.download("/root/a", str(domain.directory / "b")).verified
        with pytest.raises(CommandNotFound):
            guest.call("guest-nothing")
    assert (domain.directory / "b").read_bytes() == (domain.directory / "a").read_bytes()


def test_sleep(domain: Domain) -> None:
    boot = domain.boot_id()
    domain.virsh("dompmsuspend", "mem")
    until(lambda: domain.virsh("domstate") == "pmsuspended")
    domain.virsh("dompmwakeup")
    assert domain.boot_id() == boot
    until(lambda: connected(domain))
    domain.virsh("dompmsuspend", "disk")
    domain.wait_exit()
    domain.boot()
    assert domain.boot_id() == boot
    until(lambda: connected(domain))


def test_shutdown(domain: Domain) -> None:
    domain.virsh("shutdown", "--mode", "agent")
    domain.wait_exit()


def ask(domain: Domain, command: str) -> str:
    return domain.virsh("qemu-agent-command", json.dumps({"execute": command}))
