"""A stream: passes what a peer sends on one open descriptor to its session, and the replies back, in order.

While a peer does not read its replies, nothing is read from it and none of its requests is carried out: the loop
waits until the descriptor is writable, without spinning or blocking. All descriptors are non-blocking. A peer that
sends much and reads fast gets MAX_TURN replies before the loop turns to other events, such as a deadline or a signal.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable

from qga.agent.loop import EDGE, HANGUP, READ, WRITE, Loop, Timer
from qga.agent.session import Session

READ_SIZE = 64 * 1024  # bytes; the allocator maps larger buffers anew, which makes a ping a third slower
ABSENCE = 0.5  # seconds that a port must be hung up before its host counts as gone
LULL = 2.0  # seconds after large requests or replies until their memory is given back: more may come
NOTHING = 0  # but a hang-up, which epoll(7) always reports
MAX_TURN = 256  # replies before other events get their turn
HIGH_WATER = 256 * 1024  # bytes of replies gathered for one write: short ones share a write, long ones do not pile up


NewSession = Callable[[Callable[[], None]], Session]  # with what to call when a reply has come: Session


class Stream:
    """A descriptor and its peer. ``on_end`` is called once, with the reason, after the descriptor was closed.

    ``persistent`` is for a descriptor that outlives its peers, a virtio port. A hang-up or end of file
    there says that no host is connected: the next one gets a new session. But the first bytes of a host can come
    before the kernel sees that it is connected, so a port must stay hung up for a while. As it polls as hung
    up all the time, it is watched edge-triggered, and armed again only after something was read.

    Elsewhere a peer may close its sending half and wait for the replies that are due.
    """

    def __init__(
        self,
        loop: Loop,
        descriptor: int,
        new_session: NewSession,
        on_end: Callable[[str], None],
        *,
        persistent: bool = False,
    ) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._new_session = new_session
        self._on_end = on_end
        self._persistent = persistent
        self._session = new_session(self._on_reply)
        self._outgoing: list[bytes | memoryview] = []
        self._waiting_for = 0
        self._closed = False
        self._at_end = False
        self._absence: Timer | None = None
        self._release: Timer | None = None
        self._wait_for(READ)

    def close(self) -> None:
        """Drop the peer and close the descriptor; does nothing if it is closed already."""
        if not self._closed:
            self._closed = True
            self._forget_peer()
            self._is_present()
            self._loop.forget(self._descriptor)
            os.close(self._descriptor)

    def _end(self, reason: str) -> None:
        self.close()
        self._on_end(reason)

    def _wait_for(self, event: int) -> None:
        if event != self._waiting_for or self._persistent:
            self._waiting_for = event
            self._loop.watch(self._descriptor, event | (EDGE if self._persistent else 0), self._on_event)

    def _on_event(self, events: int) -> None:
        """Serve the peer. A bug in the agent does not end the agent: the peer gets a new session."""
        try:
            self._serve(events)
        except Exception:
            if self._closed:
                raise
            if self._persistent:
                self._peer_left()
            else:
                self._end("internal error")
            raise  # the loop reports it

    def _serve(self, events: int) -> None:
        if self._waiting_for == READ:
            self._read()
        elif self._waiting_for == WRITE and not events & HANGUP:
            self._is_present()
            self._reply()
        elif self._persistent:
            self._may_be_absent()
        else:
            self._end("the peer closed the connection before it had read its replies")

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"cannot read: {error.strerror}")
            return
        if data:
            if self._absence is not None:
                self._is_present()
            if len(data) == READ_SIZE:
                self._release_later()
            self._session.receive(data)
            self._reply()
        elif self._persistent:
            self._may_be_absent()
        else:
            self._at_end = True
            self._reply()

    def _may_be_absent(self) -> None:
        if self._absence is None:
            self._absence = self._loop.call_later(ABSENCE, self._peer_left)

    def _is_present(self) -> None:
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None

    def _peer_left(self) -> None:
        self._absence = None
        self._forget_peer()
        self._session = self._new_session(self._on_reply)
        if self._waiting_for != READ:
            self._wait_for(READ)

    def _forget_peer(self) -> None:
        """Drop the peer's incomplete request and unread replies, and return the memory if it was much."""
        self._outgoing.clear()
        self._session.close()
        if self._release is not None:
            self._release_later()

    def _on_reply(self) -> None:
        """Send the reply to a slow command."""
        if not self._closed and not self._outgoing:
            self._reply()

    def _reply(self) -> None:
        """Send replies until none is left, the peer accepts no more, or MAX_TURN were sent."""
        more = self._gather()
        try:
            if not self._write() or more:
                self._wait_for(WRITE)
                return
        except OSError as error:
            self._end(f"cannot write: {error.strerror}")
            return
        if self._at_end and not self._session.waiting:
            self._end("end of file")
        else:
            self._wait_for(NOTHING if self._at_end or self._session.full else READ)

    def _gather(self) -> bool:
        """Gather replies up to HIGH_WATER bytes; return whether there may be more."""
        size = sum(map(len, self._outgoing)) if self._outgoing else 0
        for _ in range(MAX_TURN):
            if size >= HIGH_WATER:
                break
            reply = self._session.next_reply()
            if reply is None:
                return False
            self._outgoing.append(reply)
            size += len(reply)
            if len(reply) > READ_SIZE:
                self._release_later()
        return True

    def _release_later(self) -> None:
        if self._release is None or self._release.cancelled:
            self._release = self._loop.call_later(LULL, _release)

    def _write(self) -> bool:
        """Write the gathered replies; return whether all of them were written."""
        if len(self._outgoing) > 1:
            self._outgoing = [b"".join(self._outgoing)]
        while self._outgoing:
            try:
                written = os.write(self._descriptor, self._outgoing[0])
            except BlockingIOError:
                return False
            sent = self._outgoing.pop()
            if written < len(sent):
                self._outgoing.append(memoryview(sent)[written:])
        return True


def _release() -> None:
    """Return unused memory of large requests and replies to the kernel, as far as possible.

    glibc would keep it: after it has freed a few of them it takes such blocks from its heap, and trims that by tens
    of megabytes only: malloc_trim(3), M_MMAP_THRESHOLD in mallopt(3). Another C library has no such call.
    """
    import ctypes  # imported here: needed only after large requests or replies

    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
