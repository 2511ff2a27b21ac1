"""Contexts for tests without a loop: work is carried out immediately, and timers fire only when a test fires them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from qga.agent.config import Config, defaults
from qga.agent.context import Context
from qga.agent.linux.host import Host
from qga.agent.loop import Loop
from qga.agent.policy import Policy
from qga.agent.processes import Children, Workers
from qga.agent.state.freeze import FreezeState
from qga.agent.state.freezer import Freezer
from qga.agent.state.handles import FileTable
from qga.agent.state.programs import Programs
from qga.agent.tasks import Pending
from qga.protocol.errors import CommandError
from qga.protocol.schema import Schema

T = TypeVar("T")


class StillTimer:
    def __init__(self, delay: float, callback: Callable[[], None]) -> None:
        self.delay, self.callback, self.live = delay, callback, True

    def cancel(self) -> None:
        self.callback, self.live = lambda: None, False


class StillLoop:
    """A loop that only records what to watch and call; the test triggers it."""

    def __init__(self) -> None:
        self.watched: dict[int, Callable[[int], None]] = {}
        self.timers: list[StillTimer] = []

    def watch(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        self.watched[descriptor] = callback

    def forget(self, descriptor: int) -> None:
        del self.watched[descriptor]

    def call_later(self, delay: float, callback: Callable[[], None]) -> StillTimer:
        self.timers.append(StillTimer(delay, callback))
        return self.timers[-1]

    def fire(self) -> float:
        """Make the first call that is due, and return its delay."""
        timer = self.timers.pop(0)
        timer.callback()
        return timer.delay


class OnTheSpot(Workers):
    """Carries work out at once, in this process."""

    def __call__(self, work: Callable[[], T], limit: float = 0, orphaned: int | None = None) -> Pending[T]:
        pending: Pending[T] = Pending()
        try:
            pending.resolve(work())
        except CommandError as error:
            pending.fail(error)
        return pending

    def wait(self, work: Callable[[], T], limit: float) -> T:
        return work()


def still_loop() -> Loop:
    """Return a StillLoop, typed as a Loop."""
    return cast(Loop, StillLoop())


def context(
    host: Host,
    schema: Schema,
    policy: Policy | None = None,
    *,
    loop: Loop | None = None,
    children: Children | None = None,
    freeze: FreezeState | None = None,
    config: Config | None = None,
) -> Context:
    """A context of an agent whose guest is ``host``. Programs can be started with a real ``loop`` only."""
    loop, config = loop or still_loop(), config or defaults()
    workers = OnTheSpot(loop)
    return Context(
        host=host,
        schema=schema,
        policy=policy or Policy(),
        files=FileTable(),
        programs=Programs(loop, Children() if children is None else children, lambda pid, code: None),
        freezer=Freezer(loop, workers, host, freeze or FreezeState(), config),
        workers=workers,
        config=config,
    )
