"""A channel that reopens: after a loss it is opened again, and a failed attempt is repeated.

The rule it keeps: one line in the log for however many tries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from qga.agent.channel import Channel, ChannelError
from qga.agent.context import Context
from qga.agent.loop import Loop

log = logging.getLogger(__name__)

RETRY_PAUSE = 5.0  # seconds between two tries to open a channel, as in QEMU
BUSY_PAUSE = 1.0  # seconds before a port that another process held is tried again
HANGUP_PAUSE = 1.0  # seconds before a serial port that hung up is opened again; doing so at once would spin


class ReopeningChannel:
    """The agent's channel, by the configuration in force. To be opened, and to be closed."""

    def __init__(self, loop: Loop, ctx: Context, opened: Callable[[Callable[[str], None]], Channel]) -> None:
        """Keep ``opened``, which opens the channel.

        It is given a function to call, with the reason, when the channel is lost.
        """
        self._loop = loop
        self._ctx = ctx
        self._opened = opened
        self._channel: Channel | None = None
        self._waiting = False  # the log says so

    def open(self) -> None:
        """Open the channel. A port that is busy, or any with ``retry-path``, is tried until it can be opened.

        Where two agents are started, a supervisor would otherwise start the second one again without end. Raises
        ChannelError.
        """
        try:
            self._channel = self._opened(self._on_lost)
        except ChannelError as error:
            if not self._ctx.config.retry_path and not error.busy:
                raise
            self._wait(error)

    def close(self) -> None:
        """Close the channel, as the agent ends."""
        if self._channel is not None:
            self._channel.close()

    def _keep_trying(self) -> None:
        try:
            self._channel = self._opened(self._on_lost)
        except ChannelError as error:
            self._wait(error)
        else:
            if self._waiting:
                log.warning("channel %s is open", self._ctx.config.path)
            self._waiting = False

    def _wait(self, error: ChannelError) -> None:
        log.log(logging.DEBUG if self._waiting else logging.WARNING, "%s; waiting for it", error)
        self._waiting = True
        self._loop.call_later(BUSY_PAUSE if error.busy else RETRY_PAUSE, self._keep_trying)

    def _on_lost(self, reason: str) -> None:
        """Open the channel again after a pause, or end the agent if ``retry-path`` is not set.

        The channel itself is gone, and not only its peer: a port was unplugged, a serial line hung up.
        """
        self._channel = None
        config = self._ctx.config
        hung_up = config.method == "isa-serial"
        if not hung_up and not config.retry_path:
            log.error("channel %s is lost: %s", config.path, reason)
            self._loop.stop()
            return
        log.log(logging.INFO if hung_up else logging.WARNING, "channel %s is lost: %s", config.path, reason)
        self._waiting = True
        self._loop.call_later(HANGUP_PAUSE if hung_up else RETRY_PAUSE, self._keep_trying)
