"""Serves root `bash` to the test harness over a virtio-serial port of its own: runs inside the guest.

Whatever a test wants to know of the guest "by other means" goes through here, so it depends on no guest agent,
and on nothing but the standard library. Each request is one line, each reply is one line, both JSON:

    → {"id": 7, "script": "uname -r"}
    ← {"id": 7, "status": 0, "output": "<base64 of stdout and stderr together>"}

Replies carry the id because they may come in any order: a script that suspends the guest answers after the
wake-up, and one that hangs must not lock the harness out, so every script has a thread of its own.
"""

import base64
import json
import os
import subprocess
import tempfile
import threading
import time

PORT = "/dev/virtio-ports/org.qga.test.shell"
write_lock = threading.Lock()


def write_all(port: int, data: bytes) -> None:
    with write_lock:
        while data:
            data = data[os.write(port, data) :]


def run(port: int, line: bytes) -> None:
    request = json.loads(line)
    # A file, not a pipe: a process that the script leaves behind may keep its stdout open for ever.
    # In memory, so that scripts run while the root file system is frozen.
    with tempfile.TemporaryFile(dir="/run") as output:
        status = subprocess.call(
            ["bash", "-c", request["script"]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        output.seek(0)
        text = base64.b64encode(output.read()).decode()
    reply = {"id": request["id"], "status": status, "output": text}
    write_all(port, json.dumps(reply).encode() + b"\n")


def serve(port: int) -> None:
    pending = b""
    while True:
        data = os.read(port, 65536)
        if not data:  # no host connected: a virtio port then reads as end of file at once
            time.sleep(0.05)
            continue
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            threading.Thread(target=run, args=(port, line), daemon=True).start()


if __name__ == "__main__":
    serve(os.open(PORT, os.O_RDWR | os.O_CLOEXEC))
