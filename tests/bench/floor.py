"""The least that an agent in Python could do: read up to the newline and answer with prepared bytes."""

from __future__ import annotations

import base64
import re
import socket
import sys

_COUNT = re.compile(rb'"guest-file-read".*"count": ?([0-9]+)')


def main() -> None:
    path = sys.argv[sys.argv.index("-p") + 1]
    replies: dict[bytes, bytes] = {}
    plain = b'{"return":{"count":1,"eof":false}}\n'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        buffer = memoryview(bytearray(96 << 20))
        while True:
            client, _ = listener.accept()
            with client:
                size = 0
                while received := client.recv_into(buffer[size:]):
                    size += received
                    if buffer[size - 1] != 10:
                        continue
                    wanted = _COUNT.search(buffer[:200])
                    reply = plain
                    if wanted is not None:
                        reply = replies.get(wanted[1]) or replies.setdefault(wanted[1], _read(int(wanted[1])))
                    client.sendall(reply)
                    size = 0


def _read(count: int) -> bytes:
    return b'{"return":{"count":%d,"buf-b64":"%s","eof":false}}\n' % (count, base64.b64encode(bytes(count)))


if __name__ == "__main__":
    main()
