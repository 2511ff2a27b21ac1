"""The package in root directories of Debian's releases: what depends on their Python, and on their libraries."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lines import Lines
from tests.packages.chroot import Chroot
from tests.recorded import CASES, play
from tests.unit_test_of_qemu import ROWS, Machine, Row, machine_of

pytestmark = [pytest.mark.forks, pytest.mark.slow]

POLICY = """
default = "deny"
[[rule]]
allow = ["guest-ping"]
[[rule]]
allow = ["guest-file-open"]
path = ["/etc/hostname"]
mode = ["r"]
"""


def install(chroot: Chroot, packages: Path) -> None:
    """Install the agent's package as one does without a network, and give the machine what the cases assume."""
    (package,) = packages.glob("qga-agent_*.deb")
    (chroot.root / "tmp" / package.name).write_bytes(package.read_bytes())
    chroot.check("dpkg", "--force-confold", "-i", f"/tmp/{package.name}")
    (chroot.root / "sys/devices/system/cpu/cpu0").mkdir(parents=True)
    memory = chroot.root / "sys/devices/system/memory/memory0"
    memory.mkdir(parents=True)
    (memory / "state").write_text("online\n")


@contextmanager
def machine(chroot: Chroot) -> Iterator[Machine]:
    directory = Path(tempfile.mkdtemp(dir=chroot.root / "srv"))
    with machine_of(directory, f"/srv/{directory.name}", ["/usr/sbin/qemu-ga"], chroot.prefix) as machine:
        yield machine


@pytest.fixture(scope="module")
def eleven(release: Callable[[str], Chroot], packages: Path) -> Chroot:
    chroot = release("bullseye")
    install(chroot, packages)
    return chroot


@pytest.fixture(scope="module")
def twelve(release: Callable[[str], Chroot], packages: Path) -> Chroot:
    chroot = release("bookworm")
    install(chroot, packages)
    return chroot


@pytest.fixture(scope="module")
def twelves_machine(twelve: Chroot) -> Iterator[Machine]:
    with machine(twelve) as found:
        yield found


def test_python_of_debian_11(eleven: Chroot) -> None:
    assert eleven.check("python3", "--version").startswith("Python 3.9.")
    with machine(eleven) as found:
        for case in CASES:
            play(found.shared, case)
        for row in ROWS:
            row(found)


def test_policy_on_debian_11(eleven: Chroot) -> None:
    """Its Python has no tomllib, and the package brings tomli."""
    (eleven.root / "srv/policy.toml").write_text(POLICY)
    with machine(eleven) as found, found.start(["--policy", "/srv/policy.toml"], {}) as lines:
        assert answer(lines, "guest-ping") == "return"
        assert answer(lines, "guest-file-open", path="/etc/hostname") == "return"
        assert answer(lines, "guest-file-open", path="/etc/shadow") == "error"


def test_daemon_on_debian_11(eleven: Chroot) -> None:
    """Its python3-daemon, 2.2, does what a service of the classic kind needs."""
    words = "-d -m unix-listen -p /run/d.sock -t /run -f /run/d.pid"
    eleven.check("qemu-ga", *words.split())
    try:
        with Lines.connect_soon(eleven.root / "run/d.sock") as lines:
            assert answer(lines, "guest-ping") == "return"
    finally:
        eleven.check("sh", "-c", "kill $(cat /run/d.pid)")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_unit_test_of_qemu_with_the_libraries_of_debian_12(row: Row, twelves_machine: Machine) -> None:
    row(twelves_machine)


def test_cases_with_the_libraries_of_debian_12(twelves_machine: Machine) -> None:
    for case in CASES:
        play(twelves_machine.shared, case)


@pytest.mark.parametrize("name", ["bullseye", "bookworm"])
def test_after_a_purge_everything_is_as_before(name: str, release: Callable[[str], Chroot], packages: Path) -> None:
    """QEMU's agent stays installed, and has its files' names and the configuration written for it again."""
    chroot = release(name)
    mine = chroot.root / "etc/qemu/qemu-ga.conf"
    mine.write_text("[general]\nblock-rpcs=guest-exec\n")
    before, other = chroot.files(), chroot.check("qemu-ga", "--version")
    users = [(chroot.root / "etc" / file).read_text() for file in ("passwd", "group")]
    install(chroot, packages)
    assert "qga" in chroot.check("qemu-ga", "--version")
    assert chroot.check("dpkg-query", "-W", "-f", "${Status}", "qemu-guest-agent") == "install ok installed"
    assert mine.read_text() == "[general]\nblock-rpcs=guest-exec\n"
    mine.write_text("[general]\n")
    chroot.check("dpkg", "--purge", "qga-agent")
    assert chroot.check("qemu-ga", "--version") == other
    shutil.rmtree(chroot.root / "sys/devices")
    assert chroot.files() ^ before == set()
    assert mine.read_text() == "[general]\nblock-rpcs=guest-exec\n"
    assert [(chroot.root / "etc" / file).read_text() for file in ("passwd", "group")] == users


def test_it_is_not_installed_from_outside_of_its_system(twelve: Chroot) -> None:
    """With DPKG_ROOT set, its scripts would change the system that dpkg runs in."""
    done = twelve.run("env", "DPKG_ROOT=/elsewhere", "/var/lib/dpkg/info/qga-agent.preinst", "upgrade", "0.1")
    assert (done.returncode, "use chroot" in done.stderr) == (1, True)


def test_a_damaged_installation_can_be_removed(release: Callable[[str], Chroot], packages: Path) -> None:
    chroot = release("bookworm")
    install(chroot, packages)
    for name in ("lib", "libexec"):
        shutil.rmtree(chroot.root / "usr" / name / "qga-agent")
    chroot.check("dpkg", "--purge", "qga-agent")


def test_the_hosts_package(twelve: Chroot, packages: Path) -> None:
    """The tool, its completion, and the library for the system's Python."""
    (package,) = packages.glob("qga_*.deb")
    (twelve.root / "tmp" / package.name).write_bytes(package.read_bytes())
    twelve.check("dpkg", "-i", f"/tmp/{package.name}")
    assert "guest-exec" in twelve.check("qga", "schema")
    assert twelve.check("bash", "-c", ". /usr/share/bash-completion/completions/qga; complete -p qga")
    assert twelve.check("python3", "-c", "from qga.client import Client; print(Client.__name__)") == "Client\n"
    twelve.check("dpkg", "--purge", "qga")


def test_an_upgrade_to_debian_13_keeps_the_agent(twelve: Chroot) -> None:
    """The modules are private, and for any Python: nothing of them is where the next release does not look."""
    sources = twelve.root / "etc/apt/sources.list"
    sources.write_text(sources.read_text().replace("bookworm", "trixie"))
    twelve.check("apt-get", "update", "-q")
    twelve.check("apt-get", "install", "-y", "-q", "python3", "-o", "Dpkg::Options::=--force-confold")
    assert twelve.check("python3", "--version").startswith("Python 3.13.")
    with machine(twelve) as found:
        for row in ROWS:
            row(found)


def answer(lines: Lines, command: str, **arguments: str) -> str:
    """Return whether it was answered by a return or an error."""
    lines.send(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    (kind,) = json.loads(lines.read_line(30))
    return str(kind)
