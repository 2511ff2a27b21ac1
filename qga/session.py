"""One peer: bytes in, bytes out. Owns no descriptor; what a peer left half-said ends with its session."""

from __future__ import annotations

from collections.abc import Iterator

from qga.dispatch import Dispatcher
from qga.wire import Decoder, encode

FLUSH = b""  # in a stream of replies: send what there is before asking for the next


class Session:
    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._decoder = Decoder()

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The replies to what these bytes complete, in order.

        A request is carried out when its reply is asked for: a peer that does not read its replies gets nothing
        done. ``FLUSH`` comes before a request that may take long. Exhaust one iterator before receiving more.
        """
        for message in self._decoder.feed(data):
            if self._dispatcher.is_slow(message):
                yield FLUSH
            reply = self._dispatcher.handle(message)
            if reply is not None:
                yield encode(reply.body, delimited=reply.delimited)
