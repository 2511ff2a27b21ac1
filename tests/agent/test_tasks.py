"""Coroutines without a loop: what they await is resolved by the test."""

from __future__ import annotations

import pytest

from qga.agent.tasks import Lock, Pending, Task


def test_task_goes_on_when_its_result_comes() -> None:
    first: Pending[int] = Pending()
    second: Pending[int] = Pending()

    async def add() -> int:
        return await first + await second

    task = Task(add())
    results: list[int] = []
    task.then(lambda: results.append(task.result()))
    first.resolve(1)
    assert not task.done
    second.resolve(2)
    assert results == [3]
    task.then(lambda: results.append(4))
    assert results == [3, 4], "at once, as it is done"


def test_a_finished_result_is_not_awaited() -> None:
    ready: Pending[str] = Pending()
    ready.resolve("now")

    async def use() -> str:
        return await ready

    assert Task(use()).result() == "now"


def test_failure_is_raised_where_it_is_awaited() -> None:
    broken: Pending[None] = Pending()

    async def outer() -> str:
        try:
            await Task(inner())
        except KeyError:
            return "caught"
        return "missed"

    async def inner() -> None:
        await broken

    task = Task(outer())
    broken.fail(KeyError("x"))
    assert task.result() == "caught"


def test_task_that_fails_raises_where_its_result_is_wanted() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Task(fail()).result()


def test_turns_are_taken_in_order() -> None:
    turn = Lock()
    gates = [Pending[None]() for _ in range(3)]
    steps: list[str] = []

    async def work(number: int) -> None:
        async with turn:
            steps.append(f"{number} begins")
            await gates[number]
            steps.append(f"{number} ends")
            if number == 1:
                raise RuntimeError("the turn passes on all the same")

    tasks = [Task(work(number)) for number in range(3)]
    assert steps == ["0 begins"]
    for gate in gates:
        gate.resolve(None)
    assert steps == [f"{number} {what}" for number in range(3) for what in ("begins", "ends")]
    assert [task.done for task in tasks] == [True] * 3
    later = Task(work(0))
    assert later.done
