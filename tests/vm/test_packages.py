"""The agent's package in guests of Debian, as their administrators install it: no network, and QEMU's agent is there.

Each release has one guest, whose tests follow each other: installed, booted, upgraded, removed, purged.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lines import Closed
from tests.packages.conftest import build as build_packages
from tests.recorded import CASES, play
from tests.repository import REPOSITORY
from tests.until import until
from tests.vm.guest import AGENT_PORT, Disk, Guest, GuestError
from tests.vm.image import DISK_SIZE, ROOT_LABEL, Image, build, debian_sources, run
from tests.vm.peer import Peer

OURS = "10.2.2"
VERSIONS = ("0.1.0", "0.1.1")
DATA = "/srv/data"
PAYLOAD = "/dev/disk/by-label/qga-payload"
SERVICE = "qemu-ga.service"
CPUS = {"bookworm": "2", "trixie": "1"}  # the releases; with two, Debian 13 rarely wakes up under emulation


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of each version, and one whose agent ends at once."""
    out = tmp_path_factory.mktemp("packages")
    for version in VERSIONS:
        build_packages(out / version, version)
    tree, mute = tmp_path_factory.mktemp("mute"), out / "mute"
    mute.mkdir()
    run("dpkg-deb", "-R", deb(out / VERSIONS[0]), tree)
    (tree / "usr/libexec/qga-agent/qemu-ga").write_text("#!/bin/sh\nexit 1\n")
    run("dpkg-deb", "--root-owner-group", "-b", tree, mute)
    return out


@pytest.fixture(scope="module")
def payload(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with the packages."""
    image = tmp_path_factory.mktemp("payload") / "payload.img"
    run("mke2fs", "-q", "-t", "ext4", "-L", "qga-payload", "-d", packages, image, "64M")
    return image


def deb(directory: Path) -> Path:
    (package,) = directory.glob("qga-agent_*.deb")
    return package


@pytest.fixture(scope="module", params=CPUS)
def guest(image: Image, payload: Path, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest in which QEMU's agent runs, as its distribution starts it. ``image`` skips where no guest can run."""
    disks = [Disk("virtio-blk-pci", path=payload), Disk("virtio-blk-pci", size=64 << 20)]
    with Guest(build(request.param), swap=False, cpus=CPUS[request.param], disks=disks) as guest:
        guest.boot()
        guest.check(
            f"udevadm wait --settle --timeout=60 {PAYLOAD} /dev/vdc; mkdir -p /mnt/payload {DATA};"
            f"mkfs.ext4 -q /dev/vdc; mount {PAYLOAD} /mnt/payload; mount /dev/vdc {DATA}"
        )
        yield guest


def answering(guest: Guest, wanted: str, seconds: float = 60) -> Peer:
    """Return a client of the agent of this version, once it answers."""
    until(lambda: guest.agent_version().startswith(wanted), seconds)
    return guest.peer()


def pid(guest: Guest) -> str:
    return guest.check(f"systemctl show -P MainPID {SERVICE}").strip()


def install_agent(guest: Guest, package: Path, *options: str) -> subprocess.CompletedProcess[str]:
    address = f"unix:{guest.port(AGENT_PORT)}"
    words = ["-c", address, "install-agent", *options, str(package)]
    return subprocess.run([sys.executable, "-m", "qga.tool", *words], capture_output=True, text=True)


def others_version(guest: Guest) -> str:
    """Return the version of QEMU's agent, which is the one that answers."""
    version = guest.check("qemu-ga --version").split()[3]
    with answering(guest, version):
        assert not version.startswith(OURS)
    return version


def only_in_debian_12(guest: Guest) -> None:
    """Skip what concerns the host's tool and not the release: each test takes a minute or more under emulation."""
    if "bookworm" not in guest.check("cat /etc/os-release"):
        pytest.skip("it is shown in Debian 12")


def test_before(guest: Guest) -> None:
    others_version(guest)


def test_an_agent_that_does_not_answer_is_taken_back(guest: Guest, packages: Path) -> None:
    only_in_debian_12(guest)
    done = install_agent(guest, deb(packages / "mute"), "--wait", "30s")
    assert done.returncode != 0
    assert "no new agent answered within 30 s" in done.stderr, done.stderr
    status = "dpkg-query -W -f '${db:Status-Status}' qga-agent"
    until(lambda: guest.check(status) == "config-files", 120)
    others_version(guest)


def test_the_host_installs_it_after_all(guest: Guest, packages: Path) -> None:
    """The package was removed, and not purged."""
    only_in_debian_12(guest)
    before = others_version(guest)
    done = install_agent(guest, deb(packages / VERSIONS[0]))
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("before: ")
    assert before in first
    assert second.startswith("now: ")
    assert "qga 0.1.0" in second
    until(lambda: guest.check("ls -d /var/tmp/qga-install-* 2>/dev/null || true") == "")
    guest.check("dpkg --purge qga-agent", timeout=120)
    assert others_version(guest) == before


def test_one_command_installs_it(guest: Guest) -> None:
    guest.check("apt-get install -y --no-install-recommends /mnt/payload/0.1.0/qga-agent_*.deb", timeout=300)
    with answering(guest, OURS) as peer:
        assert peer.call("guest-get-osinfo")["id"] == "debian"
    assert guest.check("systemctl is-active qemu-ga.service qemu-guest-agent.service").split() == ["active"] * 2
    report = guest.shell("qemu-ga --self-test")[1]
    assert "udev starts qemu-ga.service with the port (/usr/lib/udev/rules.d/61-qemu-ga.rules" in report
    guest.check("qemu-ga --check-config")


def test_recorded_cases(guest: Guest) -> None:
    with answering(guest, OURS) as peer:
        for case in CASES:
            play(peer, case)


def test_what_the_others_package_does_to_its_service_leaves_ours(guest: Guest) -> None:
    """An upgrade of it restarts the service of that name."""
    script = "/var/lib/dpkg/info/qemu-guest-agent.postinst configure 1:1.0"
    guest.check(script, timeout=120)
    with answering(guest, OURS):
        assert guest.check("systemctl is-active qemu-ga.service") == "active\n"


def test_it_is_there_after_a_boot(guest: Guest) -> None:
    guest.shutdown()
    guest.start()
    guest.wait_boot(240)
    with answering(guest, OURS):
        pass
    guest.check(f"mount {PAYLOAD} /mnt/payload; mount /dev/vdc {DATA}")


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


def test_the_host_upgrades_it(guest: Guest, packages: Path) -> None:
    only_in_debian_12(guest)
    with answering(guest, OURS):
        pass
    done = install_agent(guest, deb(packages / VERSIONS[1]))
    assert (done.returncode, done.stderr) == (0, "")
    assert "qga 0.1.0" in done.stdout  # of both: it is what the modules say of themselves
    assert guest.check("dpkg-query -W -f '${Version}' qga-agent") == "0.1.1-1"


def test_an_upgrade_that_fails_leaves_ours(guest: Guest, tmp_path: Path) -> None:
    only_in_debian_12(guest)
    damaged = tmp_path / "qga-agent_0.2.0-1_all.deb"
    damaged.write_bytes(b"!<arch>\n" + bytes(1000))
    before = pid(guest)
    done = install_agent(guest, damaged)
    assert "the package was not installed: " in done.stderr
    with answering(guest, OURS):
        assert pid(guest) == before


def test_its_removal_waits_for_the_thaw_and_the_other_is_back(guest: Guest) -> None:
    before = pid(guest)
    with answering(guest, OURS) as peer:
        assert peer.call("guest-fsfreeze-freeze-list", mountpoints=[DATA]) == 1
        purge = guest.shell_start("apt-get purge -y qga-agent")
        guest.check("while ! pgrep -f 'when-thawed --wait'; do sleep 0.1; done; sleep 2")
        assert pid(guest) == before
        assert peer.call("guest-fsfreeze-thaw") == 1
    assert guest.shell_result(purge, 300)[0] == 0
    others_version(guest)
    of_the_tests = "^/usr/local/lib/qga\\|^/mnt\\|^/proc\\|qga-control-shell\\|initramfs-tools/conf.d/qga"
    left = f"find / -xdev -name '*qga*' -o -xdev -name 'qemu-ga*' | grep -v '{of_the_tests}'"
    owned = "while read -r path; do dpkg -S $path >/dev/null 2>&1 || echo $path; done"
    assert guest.check(f"{left} | {owned}") == ""
    guest.check("test ! -L /etc/systemd/system/qemu-guest-agent.service")
    assert guest.shell("getent passwd qemu-ga")[0] == 2


def test_ours_stays_where_the_other_is_removed(guest: Guest) -> None:
    guest.check("apt-get install -y --no-install-recommends /mnt/payload/0.1.0/qga-agent_*.deb", timeout=300)
    with answering(guest, OURS):
        guest.check("apt-get purge -y qemu-guest-agent", timeout=300)
    with answering(guest, OURS):
        assert guest.check("systemctl is-active qemu-ga.service qemu-guest-agent.service").split() == ["active"] * 2


def test_it_sleeps_and_wakes(guest: Guest) -> None:
    """An emulated kernel of Debian 13 may not survive a wake-up, whoever asks for it: it is tried again."""
    guest.check("sync")
    for _ in range(4):
        try:
            with answering(guest, OURS) as peer:
                peer.request("guest-suspend-ram")
                guest.wait_event("SUSPEND", 90)
                guest.wakeup()
                assert peer.call("guest-ping", timeout=60) == {}
            return
        except (TimeoutError, Closed, GuestError):
            if not guest.has_died() and not guest.has_locked_up():
                raise
            guest.kill()
            guest.start()
            guest.wait_boot(240)
    pytest.fail("the guest died at every wake-up")


def test_cloud_init_installs_it(image: Image, packages: Path, tmp_path: Path) -> None:
    """``image`` skips where no guest can run."""
    seed = tmp_path / "install.iso"
    files = [deb(packages / VERSIONS[0]), *(packages / VERSIONS[0]).glob("qga-agent-*.rpm")]
    tool = [sys.executable, "-m", "qga.tool"]
    subprocess.run([*tool, "make-iso", "--output", seed, *files], check=True, capture_output=True)
    with Guest(build("trixie"), swap=False, disks=[Disk("virtio-blk-pci", path=seed)]) as guest:
        guest.start()
        with answering(guest, OURS, 360):
            assert "qga 0.1.0" in guest.check("qemu-ga --version")


def test_recipe_of_mmdebstrap(image: Image, packages: Path, tmp_path: Path) -> None:
    """The image that docs/install.md makes has the agent, and starts it."""
    text = (REPOSITORY / "docs" / "install.md").read_text().partition("mmdebstrap:\n\n")[2].partition("\n\n")[0]
    recipe = shlex.split(text.replace("build/packages", str(packages / VERSIONS[0])).replace("\\\n", ""))
    tree, raw = tmp_path / "tree", tmp_path / "root.raw"
    tree.mkdir()
    sources = debian_sources(recipe[-2])
    run(*recipe[:-1], tmp_path / "root.tar", *(["-"] if sources else []), stdin=sources)
    run("tar", "-xf", tmp_path / "root.tar", "-C", tree, "--numeric-owner")
    run("mke2fs", "-q", "-t", "ext4", "-L", ROOT_LABEL, "-d", tree, raw, DISK_SIZE)
    run("qemu-img", "convert", "-O", "qcow2", raw, tmp_path / "root.qcow2")
    (kernel,), (initrd,) = tree.glob("boot/vmlinuz-*"), tree.glob("boot/initrd.img-*")
    with Guest(Image(tmp_path / "root.qcow2", kernel, initrd, "recipe"), swap=False) as guest:
        guest.start()
        with answering(guest, OURS, 360) as peer:
            assert peer.call("guest-get-osinfo")["version-id"] == "12"
