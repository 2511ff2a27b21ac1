"""What the package takes over of the settings that other systems keep for QEMU's agent, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packages.chroot import Chroot
from tests.packages.test_debian import install

pytestmark = [pytest.mark.forks, pytest.mark.slow]

SYSCONFIG, CONF_D = "etc/sysconfig/qemu-ga", "etc/conf.d/qemu-guest-agent"
REFUSED = "was not taken over"


@pytest.fixture(scope="module")
def installed(release: Callable[[str], Chroot], packages: Path) -> Chroot:
    chroot = release("bookworm")
    install(chroot, packages)
    return chroot


@pytest.fixture
def chroot(installed: Chroot) -> Iterator[Chroot]:
    (installed.root / "etc/qemu/qemu-ga.conf").write_text("[general]\n#block-rpcs=\n")
    yield installed
    for name in (SYSCONFIG, CONF_D):
        (installed.root / name).unlink(missing_ok=True)


def taken_over(chroot: Chroot, name: str, text: bytes, status: int = 0) -> tuple[list[str], str]:
    """Return the lines that are added to the configuration, and what is reported."""
    (chroot.root / name).parent.mkdir(exist_ok=True)
    (chroot.root / name).write_bytes(text)
    done = chroot.run("/usr/libexec/qga-agent/import-settings")
    assert done.returncode == status, done.stderr
    chroot.check("qemu-ga", "--dump-conf")
    lines = (chroot.root / "etc/qemu/qemu-ga.conf").read_text().splitlines()
    return [line for line in lines[2:] if not line.startswith("#")], done.stderr


@pytest.mark.parametrize(
    ("name", "text", "added"),
    [
        (
            SYSCONFIG,
            b"# Block list\nBLACKLIST_RPC=guest-exec,guest-file-open\n",
            ["block-rpcs=guest-exec,guest-file-open"],
        ),
        (SYSCONFIG, b"BLACKLIST_RPC=\nFILTER_RPC_ARGS=\n", []),
        (
            SYSCONFIG,
            b'FILTER_RPC_ARGS="--allow-rpcs=guest-ping --verbose"\n',
            ["verbose=true", "allow-rpcs=guest-ping"],
        ),
        (
            SYSCONFIG,
            b'FILTER_RPC_ARGS="--block-rpcs=guest-exec --block-rpcs=guest-ping"\n',
            ["block-rpcs=guest-exec,guest-ping"],
        ),
        (
            SYSCONFIG,
            b'FILTER_RPC_ARGS="-b guest-exec --block-rpcs guest-ping -v"\n',
            ["verbose=true", "block-rpcs=guest-exec,guest-ping"],
        ),
        (SYSCONFIG, b"FSFREEZE_HOOK_PATHNAME=/bin/true\n", ["fsfreeze-hook=/bin/true"]),
        (SYSCONFIG, b"# \xe4\nBLOCK_RPCS=guest-exec\n", ["block-rpcs=guest-exec"]),
        (
            CONF_D,
            b'GA_METHOD="virtio-serial"\nGA_PATH=/dev/vport0p1\n',
            ["method=virtio-serial", "path=/dev/vport0p1"],
        ),
    ],
)
def test_it_is_taken_over(chroot: Chroot, name: str, text: bytes, added: list[str]) -> None:
    assert taken_over(chroot, name, text) == (added, "")


@pytest.mark.parametrize(
    "text",
    [
        b'TIMEOUT="5\n',
        b"TIMEOUT=5\n",
        b"FSFREEZE_HOOK_PATHNAME=/etc/qemu-ga/no-such-hook\n",
    ],
)
def test_what_cannot_be_taken_over_is_reported(chroot: Chroot, text: bytes) -> None:
    added, said = taken_over(chroot, CONF_D, text)
    assert added == []
    assert REFUSED in said


@pytest.mark.parametrize(
    "text",
    [
        b'GA_ARGS="--logfile=it\'s"\n',
        b'GA_ARGS="--config=/etc/x"\n',
        b'GA_ARGS="--block-rpc-s=guest-exec"\n',
        b'GA_ARGS="-d"\n',
        b'GA_ARGS="--version"\n',
        b"BLACKLIST_RPC=guest-exce\n",
        b'BLOCK_RPCS="guest-exec\n',
    ],
)
def test_what_may_restrict_and_cannot_be_taken_over_is_an_error(chroot: Chroot, text: bytes) -> None:
    """The agent that would be started allows more than the one before; what the administrator sets ends that."""
    added, said = taken_over(chroot, CONF_D, text, status=1)
    assert added == []
    assert REFUSED in said
    assert "may restrict the agent: correct it" in said
    (chroot.root / "etc/qemu/qemu-ga.conf").write_text("[general]\n#\nblock-rpcs=guest-exec\n")
    assert taken_over(chroot, CONF_D, text)[0] == ["block-rpcs=guest-exec"]


def test_a_key_of_both_files_is_written_once(chroot: Chroot) -> None:
    taken_over(chroot, SYSCONFIG, b"LOGFILE=/var/log/one\n")
    added, _ = taken_over(chroot, CONF_D, b"LOGFILE=/var/log/other\n")
    assert added == ["logfile=/var/log/one"]


def test_what_is_configured_stays(chroot: Chroot) -> None:
    config = chroot.root / "etc/qemu/qemu-ga.conf"
    config.write_text("[general]\n#\nblock-rpcs = guest-ping\n")
    assert taken_over(chroot, SYSCONFIG, b"BLACKLIST_RPC=guest-exec\n") == (["block-rpcs = guest-ping"], "")
