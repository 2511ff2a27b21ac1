from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator

import pytest

from qga.agent.loop import READ, Loop


@pytest.fixture
def loop(descriptors: None) -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_timers_fire_in_order_and_once(loop: Loop) -> None:
    fired: list[str] = []
    loop.call_later(0.02, lambda: fired.append("late"))
    loop.call_later(0, lambda: fired.append("first"))
    loop.call_later(0, lambda: fired.append("second"))
    loop.call_later(0.01, lambda: fired.append("cancelled")).cancel()
    loop.call_later(0.03, loop.stop)
    loop.run()
    assert fired == ["first", "second", "late"]


def test_descriptor_calls_back_until_it_is_forgotten(loop: Loop) -> None:
    reading, writing = os.pipe()
    got: list[bytes] = []

    def on_data(events: int) -> None:
        assert events & select.EPOLLIN
        got.append(os.read(reading, 1))
        if len(got) == 2:
            loop.forget(reading)
            loop.call_later(0.01, loop.stop)

    loop.watch(reading, READ, on_data)
    os.write(writing, b"abc")
    loop.run()
    assert got == [b"a", b"b"]
    os.close(reading)
    os.close(writing)


def test_callback_may_forget_another_that_is_ready_too(loop: Loop) -> None:
    pipes = [os.pipe(), os.pipe()]
    called: list[int] = []

    def once(events: int) -> None:
        called.append(events)
        for reading, _ in pipes:
            loop.forget(reading)
        loop.stop()

    for reading, writing in pipes:
        os.write(writing, b"x")
        loop.watch(reading, READ, once)
    loop.run()
    assert len(called) == 1
    for pipe in pipes:
        for descriptor in pipe:
            os.close(descriptor)


def test_signal_is_acted_on_by_the_loop_once_for_many(loop: Loop) -> None:
    seen: list[str] = []
    loop.on_signal(signal.SIGUSR1, lambda: seen.append("usr1"))
    loop.on_signal(signal.SIGTERM, loop.stop)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert seen == []
    loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGTERM))
    loop.run()
    assert seen == ["usr1"]


def test_signal_ends_an_endless_wait(loop: Loop) -> None:
    """No timer runs: only the wake-up pipe can end this."""
    loop.on_signal(signal.SIGALRM, loop.stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    loop.run()


def test_idle_loop_sleeps(loop: Loop) -> None:
    loop.on_signal(signal.SIGALRM, loop.stop)
    loop.call_later(3600, loop.stop).cancel()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    begun = time.process_time()
    loop.run()
    assert time.process_time() - begun < 0.1


def test_handlers_are_given_back(descriptors: None) -> None:
    before = signal.getsignal(signal.SIGUSR2)
    loop = Loop()
    loop.on_signal(signal.SIGUSR2, loop.stop)
    loop.close()
    assert signal.getsignal(signal.SIGUSR2) == before


def test_a_callback_that_raises_does_not_end_the_loop(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """This holds for timers, signals and descriptors; the rest of the loop continues."""
    seen: list[str] = []

    def broken() -> None:
        seen.append("timer")
        raise ZeroDivisionError("by zero")

    def cut_off() -> None:
        seen.append("signal")
        raise OSError(107, "Transport endpoint is not connected")

    loop.call_later(0, broken)
    loop.call_later(0, lambda: seen.append("next timer"))
    loop.on_signal(signal.SIGUSR1, cut_off)
    loop.on_signal(signal.SIGTERM, loop.stop)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGTERM))
    loop.run()
    assert sorted(seen) == ["next timer", "signal", "timer"]
    assert sorted(record.getMessage() for record in caplog.records if record.levelname == "ERROR") == [
        "internal error: OSError: [Errno 107] Transport endpoint is not connected",
        "internal error: ZeroDivisionError: by zero",
    ]


def test_a_descriptor_whose_callback_raises_is_left_alone_for_a_while(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("qga.agent.loop.FAULT_PAUSE", 0.05)
    reading, writing = os.pipe()
    called: list[float] = []

    def on_data(events: int) -> None:
        called.append(time.monotonic())
        if len(called) == 3:
            os.read(reading, 1)
            loop.stop()
            return
        raise RuntimeError("x" * 1000)

    loop.watch(reading, READ, on_data)
    os.write(writing, b"a")
    loop.run()
    assert called[2] - called[0] >= 0.1  # it did not spin
    assert all(len(message) < 300 for message in caplog.messages)
    loop.forget(reading)
    os.close(reading)
    os.close(writing)


def test_a_suspended_descriptor_may_be_forgotten_closed_or_watched_again(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qga.agent.loop.FAULT_PAUSE", 0.02)
    pipes = [os.pipe() for _ in range(3)]
    seen: list[bytes] = []

    def broken(events: int) -> None:
        raise RuntimeError("broken")

    def works(events: int) -> None:
        seen.append(os.read(pipes[2][0], 1))
        loop.call_later(0.05, loop.stop)

    def closes(events: int) -> None:
        os.close(pipes[1][0])
        raise RuntimeError("it has closed what was watched")

    def then() -> None:
        loop.forget(pipes[0][0])
        os.close(pipes[0][0])
        loop.watch(pipes[2][0], READ, works)

    for (reading, writing), callback in zip(pipes, (broken, closes, broken), strict=True):
        loop.watch(reading, READ, callback)
        os.write(writing, b"a")
    loop.call_later(0, then)
    loop.run()
    assert seen == [b"a"]
    loop.forget(pipes[2][0])
    for descriptor in (pipes[2][0], *(writing for _, writing in pipes)):
        os.close(descriptor)
