"""The guests of the tests. Every test gets its own, on an overlay of the prepared disk."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest
from tests.vm.image import Image, missing_programs
from tests.vm.prepare import prepare


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.xdist_group("guest"))  # one at a time: each has two emulated processors


@pytest.fixture(scope="session")
def image() -> Image:
    """A guest with qga installed. Where this machine cannot make one: skipped, or failed if it was required."""
    complaint = missing_programs()
    if complaint and os.environ.get("QGA_REQUIRE_VM"):
        pytest.fail(complaint)
    if complaint:
        pytest.skip(complaint)
    return prepare()


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    """A booted guest, shared by the tests of a module; each leaves it running and as it was."""
    with Guest(image) as guest:
        guest.boot()
        yield guest
