"""Hold a guest's filesystems still, and thaw them whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Self

from qga.client.errors import (
    AgentTimeout,
    AgentUnreachable,
    ClientError,
    CommandFailed,
    CommandNotFound,
    MalformedReply,
    OutOfStep,
)
from qga.client.operations.connect import RETRY
from qga.client.operations.requests import Ask, Disconnect, Pause

THAW_TIMEOUT = 180.0  # seconds in which the thaw is tried again, over new connections too


class FreezeOperations:
    """``frozen`` and ``thawed``: how many filesystems, None before. ``seconds``: how long they were held."""

    def __init__(self, timeout: float | None, mountpoints: Iterable[str] | None) -> None:
        """``timeout``: seconds that the freeze itself has. ``mountpoints``: None for all."""
        self._timeout = timeout
        self._mountpoints = None if mountpoints is None else list(mountpoints)
        self._since = 0.0
        self.frozen: int | None = None
        self.thawed: int | None = None
        self.seconds: float | None = None

    async def begin(self) -> Self:
        """Freeze. Raises CommandFailed if they are frozen already: those are another's to thaw."""
        status: str = await Ask("guest-fsfreeze-status", timeout=self._timeout)
        if status == "frozen":
            raise CommandFailed("guest-fsfreeze-freeze", "the filesystems are frozen already, by another client")
        self._since = time.monotonic()
        try:
            if self._mountpoints is None:
                self.frozen = await Ask("guest-fsfreeze-freeze", timeout=self._timeout)
            else:
                listed = {"mountpoints": self._mountpoints}
                self.frozen = await Ask("guest-fsfreeze-freeze-list", listed, self._timeout)
        except CommandNotFound:
            raise
        except BaseException as error:  # what became of it is not known
            await self.end(error)
            raise
        return self

    async def end(self, error: BaseException | None) -> None:
        """Thaw. ``error``: what ends the freeze, if it was not planned; a thaw that fails is a note on it then."""
        try:
            await self._thaw()
        except ClientError as second:
            if error is None:
                raise
            error.add_note(f"and the thaw after it failed: {second}")

    async def _thaw(self) -> None:
        """Over a new connection if this one is lost. Raises ClientError once THAW_TIMEOUT has passed."""
        deadline = time.monotonic() + THAW_TIMEOUT
        while True:
            try:
                left = max(1.0, deadline - time.monotonic())
                self.thawed = await Ask("guest-fsfreeze-thaw", timeout=left)
                self.seconds = time.monotonic() - self._since
                return
            except MalformedReply:
                raise  # it would be no better the next time
            except (AgentUnreachable, AgentTimeout, OutOfStep):
                await Disconnect()
                if time.monotonic() >= deadline:
                    raise
                await Pause(RETRY)
