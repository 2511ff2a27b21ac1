"""Coroutines without a scheduler: a coroutine resumes as soon as the result that it awaits is ready.

A function that takes long returns a Pending and resolves it later, from the loop. A Task runs a coroutine that awaits
such results, and is a Pending itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Pending(Generic[T]):
    """A result that will be set later, or an exception in its place."""

    def __init__(self) -> None:
        self.done = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] = []

    def resolve(self, result: T) -> None:
        """Set the result and call the callbacks that wait for it."""
        self._result = result
        self._settle()

    def fail(self, error: BaseException) -> None:
        """Set an exception in place of the result and call the callbacks that wait for it."""
        self._error = error
        self._settle()

    def then(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the result is set, or now if it is set already."""
        if self.done:
            callback()
        else:
            self._callbacks.append(callback)

    def result(self) -> T:
        """Return the result, or raise the exception set in its place. To be called only when ``done``."""
        if self._error is not None:
            raise self._error
        return cast(T, self._result)

    def __await__(self) -> Generator[Pending[T], None, T]:
        if not self.done:
            yield self
        return self.result()

    def _settle(self) -> None:
        self.done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class Task(Pending[T]):
    """A running coroutine: it runs at once up to its first unfinished await, and resumes when that result is set."""

    def __init__(self, coroutine: Coroutine[Pending[Any], None, T]) -> None:
        super().__init__()
        self._coroutine = coroutine
        self._step()

    def _step(self) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as end:
            self.resolve(end.value)
        except Exception as error:
            self.fail(error)
        else:
            awaited.then(self._step)


class Lock:
    """A lock for coroutines: ``async with lock:`` admits one at a time, in order of arrival."""

    def __init__(self) -> None:
        self._taken = False
        self._queue: deque[Pending[None]] = deque()

    async def __aenter__(self) -> None:
        if self._taken:
            self._queue.append(Pending())
            await self._queue[-1]
        self._taken = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._queue:
            self._queue.popleft().resolve(None)  # the next one runs now
        else:
            self._taken = False
