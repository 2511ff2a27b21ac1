"""Audit records that wait for a full sink: when they are written, and how lost ones are reported."""

from __future__ import annotations

import errno
import logging
from collections import Counter
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.agent.audit import recorder
from qga.agent.audit.backlog import MAX_HELD, Backlog, Record
from qga.agent.audit.recorder import Recorder
from qga.agent.audit.sinks import Later, Moved
from qga.agent.loop import Loop
from tests.contexts import StillLoop


class Sink:
    """A sink that accepts what ``errors`` lets through."""

    name = "here"

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.hurried = 0

    def open(self) -> None:
        pass

    def fileno(self) -> int | None:
        return 7

    def write(self, record: Record) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append({**record})

    def hurry(self) -> None:
        self.hurried += 1

    def close(self) -> None:
        pass


class Running:
    def __init__(self) -> None:
        self.sink, self.loop = Sink(), StillLoop()
        self.failures: list[bool] = []
        loop = cast(Loop, self.loop)
        self.recorder = Recorder(loop, self.sink, lambda event: {"event": event}, self.failures.append)

    def write(self, kind: str, times: int = 1) -> None:
        for _ in range(times):
            self.recorder.write(kind, {"kind": kind})

    def kinds(self) -> Counter[str]:
        return Counter(record["kind"] for record in self.sink.taken if "kind" in record)


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Running:
    caplog.set_level(logging.WARNING, "qga")
    return Running()


def test_a_full_sink_is_watched_and_goes_on_as_soon_as_there_is_room(running: Running) -> None:
    running.sink.error = BlockingIOError(errno.EAGAIN, "full")
    running.write("ping", 5)
    assert running.loop.watched.keys() == {7}
    assert running.loop.timers == []
    running.sink.error = None
    running.write("ping")  # not tried before the loop reports room, so the order is kept
    assert running.sink.taken == []
    running.loop.watched[7](0)
    assert len(running.sink.taken) == 6
    assert running.loop.watched == {}
    assert running.failures == []


def test_the_newest_records_of_the_most_frequent_kind_are_dropped(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.sink.error = BlockingIOError(errno.EAGAIN, "full")
    running.write("ping", 3 * MAX_HELD)
    running.write("exec", 2)
    running.write("ping", MAX_HELD)
    assert running.failures == [True]
    running.sink.error = None
    running.loop.watched[7](0)
    assert running.failures == [True, False]
    assert running.kinds() == {"ping": MAX_HELD - 2, "exec": 2}
    lost = [record for record in running.sink.taken if record.get("event") == "lost"]
    assert lost == [{"event": "lost", "count": 3 * MAX_HELD + 2, "commands": {"ping": 3 * MAX_HELD + 2}}]
    assert [m.split(": ")[0] for m in caplog.messages] == [
        "the audit log here cannot be written",
        "the audit log here can be written again",
    ]


def test_a_slow_audit_log_does_not_flood_the_agents_log(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        running.sink.error = BlockingIOError(errno.EAGAIN, "full")
        running.write("ping", MAX_HELD + 1)
        running.sink.error = None
        running.loop.watched[7](0)
    assert running.failures == [True, False] * 20
    assert len(caplog.messages) == 2


def test_a_failing_sink_is_retried_with_each_record_and_by_a_timer_that_backs_off(running: Running) -> None:
    running.sink.error = OSError(errno.EIO, "Input/output error")
    running.write("ping")
    delays = [running.loop.fire() for _ in range(8)]
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, recorder.MAX_RETRY, recorder.MAX_RETRY]
    running.sink.error = None
    running.loop.fire()
    assert running.kinds() == {"ping": 1}
    running.sink.error = OSError(errno.EIO, "Input/output error")
    running.write("ping")
    running.sink.error = None
    running.write("ping")
    assert running.kinds() == {"ping": 3}
    assert running.failures == [True, False, True, False]


def test_a_rate_limit_is_kept_by_a_timer(running: Running) -> None:
    running.sink.error = Later(3.0)
    running.write("ping", 2)
    assert running.loop.watched == {}
    running.sink.error = None
    assert running.sink.taken == []
    assert running.loop.fire() == 3.0
    assert running.kinds() == {"ping": 2}


def test_a_rate_limit_does_not_wait_for_the_timer_of_a_failure(running: Running) -> None:
    running.sink.error = OSError(errno.EIO, "Input/output error")
    running.write("ping")
    for _ in range(7):
        running.loop.fire()  # by now it is a minute
    running.sink.error = Later(1.0)
    running.write("ping")
    running.sink.error = None
    assert [timer.delay for timer in running.loop.timers if timer.live] == [1.0]
    running.loop.fire()
    running.loop.fire()
    assert running.kinds() == {"ping": 2}


def test_a_record_that_can_never_be_written_does_not_block_the_next(running: Running) -> None:
    running.sink.error = OSError(errno.EMSGSIZE, "Message too long")
    running.write("huge")
    running.sink.error = TypeError("a bug")
    running.write("odd")
    running.sink.error = None
    running.write("ping")
    assert running.kinds() == {"ping": 1}
    assert running.sink.taken[-1]["commands"] == {"huge": 1, "odd": 1}


def test_records_lost_with_a_file_are_counted_even_while_a_loss_is_reported(running: Running) -> None:
    running.sink.error = OSError(errno.EMSGSIZE, "Message too long")
    running.write("huge")
    running.sink.error = None
    written = running.sink.write

    def write(record: Record) -> None:
        if record.get("event") == "lost" and not running.sink.hurried:
            running.sink.hurry()
            raise Moved(3)
        written(record)

    running.sink.write = write  # type: ignore[method-assign]
    running.write("ping", 2)
    lost = [record["commands"] for record in running.sink.taken if record.get("event") == "lost"]
    assert lost == [{"huge": 1}, {"written to the file that was removed": 3}]


def test_at_the_end_records_without_room_are_counted(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    running.sink.error = Later(3.0)
    running.write("ping", 5)
    running.write("exec")
    written = running.sink.write

    def write(record: Record) -> None:
        if running.sink.hurried and (len(running.sink.taken) < 3 or running.sink.hurried == 2):
            running.sink.error = None
        else:
            running.sink.error = Later(1.0)
        written(record)

    running.sink.write = write  # type: ignore[method-assign]
    running.recorder.close()
    assert running.kinds() == {"ping": 3}
    assert running.sink.taken[-1] == {"event": "lost", "count": 3, "commands": {"ping": 2, "exec": 1}}
    assert caplog.messages == ["the agent ends, and 3 records are missing from the audit log here"]


@given(st.lists(st.sampled_from("abcde"), max_size=200), st.integers(1, 20))
def test_every_kind_has_its_share(kinds: list[str], limit: int) -> None:
    """In any order of arrival, the first records of each kind are kept, as many as fit into its fair share."""
    backlog = Backlog(limit)
    for place, kind in enumerate(kinds):
        backlog.add(kind, {"number": place})
    kept: dict[str, list[int]] = {}
    order = []
    while backlog:
        kind, record = backlog.first()
        backlog.remove_first()
        number = record["number"]
        assert isinstance(number, int)
        assert kinds[number] == kind
        kept.setdefault(kind, []).append(number)
        order.append(number)
    assert order == sorted(order)
    assert len(order) == min(len(kinds), limit)
    sent = Counter(kinds)
    assert {kind: sent[kind] - len(kept.get(kind, ())) for kind in sent} == {k: backlog.lost[k] for k in sent}
    share = limit // max(1, len(sent))
    assert all(len(kept.get(kind, ())) >= min(sent[kind], share) for kind in sent)
