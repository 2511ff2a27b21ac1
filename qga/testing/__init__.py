"""A fake guest for tests of host software: a pytest plugin whose fixtures speak the agent's protocol.

    def test_backup(fake_guest):
        fake_guest.answer("guest-get-osinfo", {"id": "debian"})
        fake_guest.fault("guest-fsfreeze-freeze", delay=10)
        my_backup(fake_guest.address)
        assert "guest-fsfreeze-thaw" in fake_guest.commands

``fake_guest`` listens on a unix socket, ``fake_serial_guest`` on a pseudo-terminal. Requests go through the agent's
own dispatcher, and canned answers are held to the schema, so that no test relies on an answer that no agent gives.
Freezing, files, programs and the clock work as in a guest; every other command returns the least value that the
schema allows, until a test sets another.

pytest imports this module wherever qga is installed; the agent is imported only when a test uses a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qga.testing.faults import Fault
    from qga.testing.guest import FakeGuest

__all__ = ["FakeGuest", "Fault", "fake_guest", "fake_serial_guest"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(name)
        from qga.testing import guest

        return getattr(guest, name)


@pytest.fixture
def fake_guest() -> Iterator[FakeGuest]:
    """Return a fake guest whose agent's port is a unix socket."""
    from qga.testing.guest import FakeGuest

    with FakeGuest() as guest:
        yield guest


@pytest.fixture
def fake_serial_guest() -> Iterator[FakeGuest]:
    """Return a fake guest whose agent's port is a serial line: a pseudo-terminal."""
    from qga.testing.guest import FakeGuest

    with FakeGuest(serial=True) as guest:
        yield guest
