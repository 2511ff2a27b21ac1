"""A port that another agent holds is waited for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from qga.agent.channel import Channel, ChannelError, reopening
from qga.agent.config import defaults
from qga.agent.context import Context
from qga.agent.loop import Loop

BUSY = ChannelError(f"error opening channel '/dev/x': {os.strerror(errno.EBUSY)}", busy=True)
MISSING = ChannelError(f"error opening channel '/dev/x': {os.strerror(errno.ENOENT)}")


class Port:
    """A channel that cannot be opened as long as there are errors."""

    def __init__(self, *errors: ChannelError) -> None:
        self.errors = list(errors)

    def open(self, on_lost: Callable[[str], None]) -> Channel:
        if self.errors:
            raise self.errors.pop(0)
        return cast(Channel, SimpleNamespace(close=lambda: None))


def channel(loop: Loop, port: Port) -> reopening.ReopeningChannel:
    return reopening.ReopeningChannel(loop, cast(Context, SimpleNamespace(config=defaults())), port.open)


def test_a_busy_port_is_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(reopening, "BUSY_PAUSE", 0.001)
    port = Port(BUSY, BUSY, BUSY)
    with Loop() as loop:
        channel(loop, port).open()
        loop.call_later(0.2, loop.stop)
        loop.run()
    assert port.errors == []
    assert caplog.messages == [f"{BUSY}; waiting for it", f"channel {defaults().path} is open"]


def test_a_port_that_is_missing_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loop() as loop, pytest.raises(ChannelError, match="No such file"):
        channel(loop, Port(MISSING)).open()
