"""Requests that are sent to the agent at once, each with a name and a reply of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from qga.client import AsyncClient
from qga.client.errors import CommandFailed, CommandNotFound
from qga.client.payload import payload
from qga.client.replies import FileRead, FileSeek

T = TypeVar("T")


class Pipeline:
    """Use it as ``async with Pipeline() as pipeline: read = pipeline.send(client.guest_file_read(handle))``.

    The requests go out in the order in which they are given. Behind the block each is answered, and ``read.result()``
    returns the reply or raises CommandFailed. The block itself raises what is not an answer of the agent, such as a
    broken connection.
    """

    def __init__(self) -> None:
        self._requests: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            if error is None and self._requests:
                await asyncio.wait(self._requests)
        finally:
            await self._abandon()
        if error is not None:
            return
        for failure in map(asyncio.Task.exception, self._requests):
            if failure is not None and not isinstance(failure, CommandFailed):
                raise failure

    def send(self, request: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Send one request, such as ``client.guest_ping()``; tasks of one loop begin in the order of their making."""
        task = asyncio.create_task(request)
        self._requests.append(task)
        return task

    @property
    def is_refused_for_now(self) -> bool:
        """Whether one was refused as another client holds filesystems frozen: agents then refuse most commands."""
        errors = map(asyncio.Task.exception, self._requests)
        return any(isinstance(error, CommandNotFound) and error.disabled for error in errors)

    async def _abandon(self) -> None:
        """Give up those that are not answered yet."""
        for task in self._requests:
            task.cancel()  # which those that are done do not mind
        await asyncio.gather(*self._requests, return_exceptions=True)


class Read(NamedTuple):
    """A guest-file-read that is under way. QEMU's agent remembers an end of file: only a seek makes it look again."""

    seek: asyncio.Task[FileSeek]
    read: asyncio.Task[FileRead]
    limit: int

    @classmethod
    def send(cls, pipeline: Pipeline, client: AsyncClient, handle: int, offset: int, count: int) -> Read:
        """Ask for at most ``count`` bytes at an offset."""
        seek = pipeline.send(client.guest_file_seek(handle, offset, "set"))
        return cls(seek, pipeline.send(client.guest_file_read(handle, count)), count)

    def data(self) -> bytes:
        """Return what was read; b"" at the end. Raises ClientError."""
        self.seek.result()
        reply = self.read.result()
        return payload(reply.buf_b64, reply.count, self.limit)


def is_accepted(request: asyncio.Task[Any] | None) -> bool:
    """Return whether a request was made and has succeeded."""
    return request is not None and request.exception() is None
