"""One peer: bytes in, bytes out. Owns no descriptor; what a peer left half-said ends with its session.

Replies keep the order of the requests. While a slow command is carried out elsewhere, what the peer sends is taken
in: a sync that comes later says that the peer has given up waiting. It is answered, and the late reply is dropped.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator

from qga.dispatch import Dispatcher, Reply
from qga.waiting import Task
from qga.wire import Decoder

log = logging.getLogger(__name__)

MAX_AHEAD = 256 * 1024  # bytes taken in while a slow command is carried out; a peer that sends more has to wait

_NONE = object()


class Session:
    def __init__(self, dispatcher: Dispatcher, wake: Callable[[], None] = lambda: None) -> None:
        """``wake`` is called when a reply that was waited for has come."""
        self._dispatcher = dispatcher
        self._wake = wake
        self._decoder = Decoder()
        self._incoming: Iterator[object] = iter(())
        self._ahead: deque[tuple[int, int, object]] = deque()  # messages, which read has brought each, and its size
        self._ahead_size = 0
        self._reads = 0
        self._last_sync = 0  # the read that has brought it
        self._task: Task[Reply | None] | None = None
        self._task_read = 0

    @property
    def waiting(self) -> bool:
        """Whether a reply is due that has not come."""
        return self._task is not None

    @property
    def full(self) -> bool:
        """Whether nothing more should be received until a reply has come."""
        return self._ahead_size > MAX_AHEAD

    def receive(self, data: bytes) -> None:
        """Take in bytes. Unless ``waiting``, ask for the replies to them before receiving more."""
        self._reads += 1
        self._incoming = self._decoder.feed(data)
        if self._task is not None:
            self._ahead_size += len(data)
            self._look_ahead()

    def next_reply(self) -> bytes | None:
        """The next reply, or None while there is none.

        A request is carried out when its reply is asked for: a peer that does not read its replies gets nothing done.
        """
        while (task := self._task or self._begin_next()) is not None:
            if task.done:
                self._task = None
                reply = task.result()
                if reply is not None:
                    return self._dispatcher.encode(reply)
            elif self._last_sync > self._task_read:
                log.info("the client has given up waiting for a slow command: its reply will be dropped")
                self._task = None
            else:
                break
        return None

    def _begin_next(self) -> Task[Reply | None] | None:
        """Carry out the next request, or let it begin; None if there is none."""
        if self._ahead:
            self._task_read, size, message = self._ahead.popleft()
            if not self._ahead:
                self._ahead_size = 0
        else:
            self._task_read, message = self._reads, next(self._incoming, _NONE)
            if message is _NONE:
                return None
            size = self._decoder.size
        self._task = Task(self._dispatcher.handle(message, size))
        if not self._task.done:
            self._look_ahead()
            self._task.then(self._wake)
        return self._task

    def _look_ahead(self) -> None:
        for message in self._incoming:
            if self._dispatcher.is_sync(message):
                self._last_sync = self._reads
            self._ahead.append((self._reads, self._decoder.size, message))
