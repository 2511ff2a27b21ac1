"""The agent's package in guests of Debian, as their administrators install it: no network, and QEMU's agent is there.

Each release has one guest, whose tests follow each other: installed, booted, upgraded, removed, purged.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository import REPOSITORY
from tests.until import until
from tests.vm.guest import Disk, Guest
from tests.vm.image import Image, build, run
from tests.vm.peer import AgentError, Peer

OTHER, OURS = "7.2", "10.2.2"
VERSIONS = ("0.1.0", "0.1.1")
DATA = "/srv/data"
PAYLOAD = "/dev/disk/by-label/qga-payload"
SERVICE = "qemu-ga.service"


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with the packages, and with those of a later version."""
    out, image = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("payload") / "payload.img"
    for version in VERSIONS:
        subprocess.run([sys.executable, REPOSITORY / "packaging" / "build.py", out / version, version], check=True)
    run("mke2fs", "-q", "-t", "ext4", "-L", "qga-payload", "-d", out, image, "64M")
    return image


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def guest(image: Image, payload: Path, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest in which QEMU's agent runs, as its distribution starts it. ``image`` skips where no guest can run."""
    disks = [Disk("virtio-blk-pci", path=payload), Disk("virtio-blk-pci", size=64 << 20)]
    with Guest(build(request.param), swap=False, disks=disks) as guest:
        guest.boot()
        guest.check(
            f"udevadm wait --settle --timeout=60 {PAYLOAD} /dev/vdc; mkdir -p /mnt/payload {DATA};"
            f"mkfs.ext4 -q /dev/vdc; mount {PAYLOAD} /mnt/payload; mount /dev/vdc {DATA}"
        )
        yield guest


def answering(guest: Guest, wanted: str) -> Peer:
    """Return a client of the agent of this version, once it answers."""

    def look() -> Peer | None:
        peer = guest.peer(timeout=10)
        try:
            peer.sync()
            if peer.call("guest-info")["version"].startswith(wanted):
                return peer
        except TimeoutError:
            pass
        peer.close()
        return None

    found = until(look, 60)
    assert found is not None
    return found


def pid(guest: Guest) -> str:
    return guest.check(f"systemctl show -P MainPID {SERVICE}").strip()


def test_before(guest: Guest) -> None:
    version = guest.check("qemu-ga --version").split()[3]
    with answering(guest, version):
        assert not version.startswith(OURS)


def test_one_command_installs_it(guest: Guest) -> None:
    said = guest.check("apt-get install -y /mnt/payload/0.1.0/qga-agent_*.deb", timeout=300)
    assert "Removing qemu-guest-agent" in said
    with answering(guest, OURS) as peer:
        assert peer.call("guest-get-osinfo")["id"] == "debian"
    assert guest.check("systemctl is-active qemu-ga.service qemu-guest-agent.service").split() == ["active"] * 2
    report = guest.shell("qemu-ga --self-test")[1]
    assert "udev starts qemu-ga.service with the port (/usr/lib/udev/rules.d/61-qemu-ga.rules" in report
    guest.check("qemu-ga --check-config")


def test_it_is_there_after_a_boot(guest: Guest) -> None:
    guest.shutdown()
    guest.start()
    guest.wait_boot(240)
    with answering(guest, OURS):
        pass
    guest.check(f"mount {PAYLOAD} /mnt/payload; mount /dev/vdc {DATA}")


def test_it_sleeps_and_wakes(guest: Guest) -> None:
    with answering(guest, OURS) as peer:
        peer.request("guest-suspend-ram")
        guest.wait_event("SUSPEND", 90)
        guest.wakeup()
        assert peer.call("guest-ping", timeout=60) == {}


def test_an_upgrade_waits_for_the_thaw(guest: Guest) -> None:
    before = pid(guest)
    with answering(guest, OURS) as peer:
        assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[DATA]) == 1
        said = guest.check("dpkg -i /mnt/payload/0.1.1/qga-agent_*.deb", timeout=300)
        assert "filesystems are frozen" in said
        assert pid(guest) == before
        assert peer.call("guest-fsfreeze-thaw") == 1
    until(lambda: pid(guest) not in (before, "0"), 60)
    with answering(guest, OURS):
        assert guest.check("dpkg-query -W -f '${Version}' qga-agent") == "0.1.1-1"


def test_an_upgrade_restarts_the_agent(guest: Guest) -> None:
    before = pid(guest)
    with answering(guest, OURS) as peer:
        guest.check("dpkg -i /mnt/payload/0.1.0/qga-agent_*.deb", timeout=300)
        peer.sync(timeout=60)
    assert pid(guest) != before


def test_after_its_removal_the_other_is_back(guest: Guest) -> None:
    guest.check("apt-get purge -y qga-agent", timeout=300)
    until(lambda: guest.shell("dpkg-query -s qemu-guest-agent | grep -q 'ok installed'")[0] == 0, 120)
    with answering(guest, guest.check("qemu-ga --version").split()[3]), pytest.raises(AgentError):
        guest.peer().call("qga-nothing")
    left = "find / -xdev -name '*qga*' -o -xdev -name 'qemu-ga*' | grep -v '^/usr/local/lib/qga\\|^/mnt\\|^/proc'"
    owned = "while read -r path; do dpkg -S $path >/dev/null 2>&1 || echo $path; done"
    assert guest.check(f"{left} | {owned}") == ""
    assert guest.shell("getent passwd qemu-ga")[0] == 2
