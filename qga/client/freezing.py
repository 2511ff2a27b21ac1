"""Freezing for as long as a ``with`` block lasts: thawed after it, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from qga.client.commands import Commands
from qga.client.errors import (
    AgentTimeout,
    AgentUnreachable,
    ClientError,
    CommandFailed,
    CommandNotFound,
    MalformedReply,
    OutOfStep,
)

THAW_TIMEOUT = 180.0  # seconds in which the thaw is tried again, over new connections too
RETRY = 0.5  # seconds between two tries

_LOST = (AgentUnreachable, AgentTimeout, OutOfStep)


class Freeze:
    """``frozen`` and ``thawed``: how many filesystems, None before. ``seconds``: how long they were held.

    Python does not leave a ``with`` block on SIGTERM: a program that wants the thaw then makes an exception of it.
    """

    def __init__(
        self,
        client: Commands,
        disconnect: Callable[[], None],
        timeout: float | None,
        mountpoints: Iterable[str] | None,
    ) -> None:
        """``disconnect`` ends the client's connection, so that its next command makes a new one."""
        self._client = client
        self._disconnect = disconnect
        self._timeout = timeout
        self._mountpoints = None if mountpoints is None else list(mountpoints)
        self._since = 0.0
        self.frozen: int | None = None
        self.thawed: int | None = None
        self.seconds: float | None = None

    def __enter__(self) -> Self:
        """Raises CommandFailed if they are frozen already: those are another's to thaw."""
        if self._client.guest_fsfreeze_status(timeout=self._timeout) == "frozen":
            raise CommandFailed("guest-fsfreeze-freeze", "the filesystems are frozen already, by another client")
        self._since = time.monotonic()
        try:
            if self._mountpoints is None:
                self.frozen = self._client.guest_fsfreeze_freeze(timeout=self._timeout)
            else:
                self.frozen = self._client.guest_fsfreeze_freeze_list(self._mountpoints, timeout=self._timeout)
        except CommandNotFound:
            raise
        except BaseException as error:  # what became of it is not known
            try:
                self._thaw()
            except ClientError as second:
                error.add_note(f"and the thaw after it failed: {second}")
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            self._thaw()
        except ClientError as second:
            if error is None:
                raise
            error.add_note(f"and the thaw after it failed: {second}")

    def _thaw(self) -> None:
        """Over a new connection if this one is lost. Raises ClientError once THAW_TIMEOUT has passed."""
        deadline = time.monotonic() + THAW_TIMEOUT
        while True:
            try:
                self.thawed = self._client.guest_fsfreeze_thaw(timeout=max(1.0, deadline - time.monotonic()))
                self.seconds = time.monotonic() - self._since
                return
            except MalformedReply:
                raise  # it would be no better the next time
            except _LOST:
                self._disconnect()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY)
