"""The installation into a directory of its own, as README has it, in a guest that has QEMU's agent as well."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest

from tests.repository import REPOSITORY
from tests.until import until
from tests.vm.guest import Guest
from tests.vm.image import Image


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    with Guest(image, swap=False) as guest:
        guest.boot()
        yield guest


def removal() -> str:
    """Return README's lines."""
    after = (REPOSITORY / "README.md").read_text().partition("To remove it, ")[2].partition("\n\n")[2]
    return textwrap.dedent(after.partition("\n\n")[0])


def test_ours_is_started_at_boot_and_the_other_is_not(guest: Guest) -> None:
    assert guest.agent_version() == "10.2.2"
    assert guest.shell("systemctl is-active qemu-guest-agent.service")[1] == "inactive\n"
    report = guest.shell("/opt/qga/bin/qemu-ga --self-test")[1]
    assert "udev starts qemu-ga.service with the port (/etc/udev/rules.d/61-qemu-ga.rules" in report


def test_after_its_removal_the_other_is_started(guest: Guest) -> None:
    guest.check(f"set -e\n{removal()}")
    until(lambda: guest.agent_version().startswith("7.2"), 60)
