"""Freezing for as long as a ``with`` block lasts: thawed after it, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from qga.client.operations.freeze import FreezeOperations
from qga.client.operations.requests import AsyncClient, Client


class Freeze(FreezeOperations):
    """``with client.freeze() as freeze:`` holds them; ``freeze.frozen`` says how many filesystems.

    Python does not leave a ``with`` block on SIGTERM: a program that wants the thaw then makes an exception of it.
    """

    def __init__(self, client: Client, timeout: float | None, mountpoints: Iterable[str] | None) -> None:
        super().__init__(timeout, mountpoints)
        self._client = client

    def __enter__(self) -> Self:
        return self._client.carry_out(self.begin())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._client.carry_out(self.end(error))


class AsyncFreeze(FreezeOperations):
    """As ``Freeze``, for ``async with``."""

    def __init__(self, client: AsyncClient, timeout: float | None, mountpoints: Iterable[str] | None) -> None:
        super().__init__(timeout, mountpoints)
        self._client = client

    async def __aenter__(self) -> Self:
        return await self._client.carry_out(self.begin())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._client.carry_out(self.end(error))
