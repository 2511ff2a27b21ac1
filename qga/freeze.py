"""Whether this agent holds the guest's filesystems frozen, and who has to know.

The rule it keeps: a marker file lies in the state directory exactly as long as the state is frozen. An agent that is
killed leaves it behind, and its successor starts frozen: it writes nothing and can be told to thaw.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

log = logging.getLogger(__name__)

MARKER = "qga.state.isfrozen"


class FreezeState:
    """Without a state directory there is no marker, and the state is thawed at first."""

    def __init__(self, statedir: str | None = None) -> None:
        self._marker = None if statedir is None else os.path.join(statedir, MARKER)
        self._subscribers: list[Callable[[bool], None]] = []
        self.frozen = self._marker is not None and _exists(self._marker)

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """Have ``callback(frozen)`` called at every change; and now, if the state is frozen."""
        self._subscribers.append(callback)
        if self.frozen:
            callback(True)

    def freeze(self) -> None:
        """Before the first filesystem is frozen: from here on nothing may be written."""
        log.warning("filesystems are about to be frozen; logging is held until they are thawed")
        if self._marker is not None:
            try:
                os.close(os.open(self._marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                log.warning("cannot create %s: %s", self._marker, error.strerror)
        self._change(True)

    def thaw(self) -> None:
        """After the last filesystem was thawed."""
        self._change(False)
        if self._marker is not None:
            try:
                os.unlink(self._marker)
            except FileNotFoundError:
                pass  # it could not be created, or somebody has tidied up
            except OSError as error:
                log.error("cannot remove %s: %s", self._marker, error.strerror)
        log.info("filesystems are thawed")

    def _change(self, frozen: bool) -> None:
        self.frozen = frozen
        for callback in self._subscribers:
            callback(frozen)


def _exists(marker: str) -> bool:
    """What cannot be looked at counts as there: to thaw what is not frozen does no harm, the reverse does."""
    try:
        os.stat(marker)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
