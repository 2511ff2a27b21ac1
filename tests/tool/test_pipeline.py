"""Requests that are sent at once: in order, each with its own reply, and none left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qga.client import AgentUnreachable, AsyncClient, CommandFailed
from qga.testing import FakeGuest
from qga.tool.remote.pipeline import Pipeline, Read, is_accepted


def carried_out(guest: FakeGuest, work: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def session() -> None:
        async with AsyncClient(guest.address, timeout=20) as client:
            await work(client)

    asyncio.run(session())


def test_they_are_sent_in_order_and_each_is_answered(fake_guest: FakeGuest) -> None:
    fake_guest.files["/f"] = bytearray(b"content")

    async def work(client: AsyncClient) -> None:
        handle = await client.guest_file_open("/f", "r")
        async with Pipeline() as pipeline:
            first = Read.send(pipeline, client, handle, 3, 2)
            second = Read.send(pipeline, client, handle, 0, 2)
            missing = pipeline.send(client.guest_file_open("/no/such", "r"))
            ping = pipeline.send(client.guest_ping())
        assert (first.data(), second.data()) == (b"te", b"co")
        assert (is_accepted(ping), is_accepted(missing), is_accepted(None)) == (True, False, False)
        with pytest.raises(CommandFailed, match="/no/such"):
            missing.result()
        assert not pipeline.is_refused_for_now

    carried_out(fake_guest, work)
    asked = ["guest-file-open", *["guest-file-seek", "guest-file-read"] * 2, "guest-file-open", "guest-ping"]
    assert fake_guest.commands == asked


def test_a_broken_connection_is_not_an_answer(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-get-time", disconnect=True)

    async def work(client: AsyncClient) -> None:
        pipeline = Pipeline()
        await pipeline.__aenter__()
        pipeline.send(client.guest_ping())
        pipeline.send(client.guest_get_time())
        with pytest.raises(AgentUnreachable):
            await pipeline.__aexit__(None, None, None)

    carried_out(fake_guest, work)


def test_a_temporary_refusal_is_distinguished_from_others(fake_guest: FakeGuest) -> None:
    fake_guest.block("guest-get-time")

    async def work(client: AsyncClient) -> None:
        async with Pipeline() as pipeline:
            pipeline.send(client.guest_ping())
            pipeline.send(client.guest_get_time())
        assert pipeline.is_refused_for_now

    carried_out(fake_guest, work)


@pytest.mark.filterwarnings("error")
def test_when_cancelled_no_request_is_left(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-ping", drop=True)

    async def work(client: AsyncClient) -> None:
        async def ask() -> None:
            async with Pipeline() as pipeline:
                pipeline.send(client.guest_file_open("/no/such", "r"))
                pipeline.send(client.guest_ping())

        task = asyncio.create_task(ask())
        while "guest-ping" not in fake_guest.commands:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    carried_out(fake_guest, work)
