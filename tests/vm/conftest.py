"""The guests of the tests, each on overlays of the prepared disk."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.vm.guest import Guest
from tests.vm.image import Image, missing_programs
from tests.vm.prepare import prepare


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one guest together, so that no other process boots it again."""
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            shared = "shared" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.xdist_group("shared guest" if shared else item.path.stem))
            if shared:
                item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=[LockedUpError.__name__]))


class LockedUpError(Exception):
    """The emulated guest has locked up, and another is there."""


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail with LockedUpError where the guest has locked up: that says nothing of the agent, and the test runs again.

    The control shell, which has nothing to do with the agent, would answer even if every filesystem were frozen.
    """
    try:
        return (yield)
    except Exception as error:
        guest = pyfuncitem.funcargs.get("guest")
        if "shared" not in pyfuncitem.fixturenames or not isinstance(guest, Guest) or not guest.has_locked_up():
            raise
        guest.renew()
        guest.boot()
        raise LockedUpError from error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Stop the shared guest when nobody needs it any more: it takes memory, and is a child of this process."""
    yield
    if "shared" in getattr(item, "fixturenames", ()) and "shared" not in getattr(nextitem, "fixturenames", ()):
        guest = getattr(item, "funcargs", {}).get("guest")
        if isinstance(guest, Guest):
            guest.kill()


@pytest.fixture(scope="session")
def image() -> Image:
    """A guest with qga installed. Where this machine cannot make one: skipped, or failed if it was required."""
    complaint = missing_programs()
    if complaint and os.environ.get("QGA_REQUIRE_VM"):
        pytest.fail(complaint)
    if complaint:
        pytest.skip(complaint)
    return prepare()


@pytest.fixture(scope="session")
def shared(image: Image) -> Iterator[Guest]:
    """The guest of all modules that ask for no other: a boot takes as long as many a module's tests."""
    with Guest(image) as guest:
        yield guest


@pytest.fixture(scope="module")
def guest(shared: Guest, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A booted guest; each test leaves it running and as it was. After a failure the next module gets a new one."""
    if not shared.is_sound():
        shared.renew()
        shared.boot()
    failed = request.session.testsfailed
    yield shared
    if request.session.testsfailed > failed:
        shared.kill()
