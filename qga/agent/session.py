"""The session with one peer: bytes in, bytes out. It owns no descriptor, and its end drops an incomplete request.

Replies are sent in the order of the requests. While a worker carries out a slow command, the session keeps reading: a
sync that arrives meanwhile means that the peer has given up waiting. It is answered, and the late reply is dropped.

The session looks for a sync in the next MAX_MESSAGES messages and MAX_AHEAD bytes. Both are limited because a message
can be many times as large in memory as on the wire (each byte 0xFF becomes an error of half a kilobyte). Whatever
exceeds the limits stays undecoded, or unread in the channel, until there is room: nothing is lost, and the order is
kept. A sync beyond the limits is noticed when its turn comes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator

from qga.agent.dispatch import Dispatcher
from qga.agent.tasks import Task
from qga.protocol.wire import Decoder

log = logging.getLogger(__name__)

MAX_AHEAD = 256 * 1024  # bytes taken in while a slow command is carried out; a peer that sends more has to wait
MAX_MESSAGES = 256  # decoded meanwhile: a host that waits for each reply sends one, a host that does not sends a few

_NONE = object()


class Session:
    """The conversation with one peer, from its bytes to the replies; it ends when the peer is gone."""

    def __init__(self, dispatcher: Dispatcher, wake: Callable[[], None] = lambda: None) -> None:
        """``wake`` is called when the reply to a slow command is ready."""
        self._dispatcher = dispatcher
        self._wake = wake
        self._decoder = Decoder()
        self._incoming: Iterator[object] = iter(())
        self._ahead: deque[tuple[int, int, object]] = deque()  # the number of a read, and a message's size and value
        self._ahead_size = 0
        self._reads = 0
        self._last_sync = 0  # the number of the read that brought the latest sync
        self._task: Task[bytes | None] | None = None
        self._read = 0  # the number of the read that brought the current request

    def close(self) -> None:
        """Drop everything that belongs to a peer that is gone: pending replies, and an incomplete request."""
        self._wake = lambda: None
        self._decoder, self._incoming, self._task = Decoder(), iter(()), None
        self._ahead.clear()

    @property
    def waiting(self) -> bool:
        """Whether the reply to a slow command is still pending."""
        return self._task is not None

    @property
    def full(self) -> bool:
        """Whether nothing more may be received until the pending reply is ready."""
        return self._ahead_size > MAX_AHEAD or len(self._ahead) >= MAX_MESSAGES

    def receive(self, data: bytes) -> None:
        """Accept bytes from the peer.

        Before the next call, fetch all replies; only while ``waiting`` may more be received, unless ``full``."""
        self._reads += 1
        self._incoming = self._decoder.feed(data)
        if self._task is not None:
            self._ahead_size += len(data)
            self._look_ahead()

    def next_reply(self) -> bytes | None:
        """Return the next reply, or None if none is ready.

        A request is carried out when its reply is fetched: a peer that does not read its replies gets nothing done.
        """
        while True:
            if self._task is None:
                if self._ahead:
                    self._read, size, message = self._ahead.popleft()
                else:
                    self._ahead_size = 0  # even if the bytes were all part of one message
                    self._read, message = self._reads, next(self._incoming, _NONE)
                    if message is _NONE:
                        return None
                    size = self._decoder.size
                reply = self._dispatcher.handle(message, size)
                if isinstance(reply, Task):
                    self._await(reply)
                    continue
            elif self._task.done:
                reply = self._task.result()
                self._task = None
            elif self._last_sync > self._read:
                log.info("the client has given up waiting for a slow command: its reply will be dropped")
                self._task = None
                continue
            else:
                return None
            if reply is not None:
                return reply

    def _await(self, task: Task[bytes | None]) -> None:
        self._task = task
        if not task.done:
            self._look_ahead()
            task.then(self._on_done)

    def _on_done(self) -> None:
        self._wake()

    def _look_ahead(self) -> None:
        while len(self._ahead) < MAX_MESSAGES and (message := next(self._incoming, _NONE)) is not _NONE:
            if self._dispatcher.is_sync(message):
                self._last_sync = self._reads
            self._ahead.append((self._reads, self._decoder.size, message))
