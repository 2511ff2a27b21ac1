"""``make pictures``: docs/status.svg, cp.svg and top.svg, of the tool and a real guest, for the README."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

from tests.repository import REPOSITORY
from tests.vm.guest import AGENT_PORT, Guest
from tests.vm.prepare import prepare

COLUMNS, ROWS = 96, 30
NAME = "web1.sock"
PATIENCE = 60.0  # seconds
NETWORK = """set -e
cd /sys/class/net; nic=$(ls | grep -v lo)
ip link set $nic up; ip address add 10.0.2.15/24 dev $nic; ip route add default via 10.0.2.2"""
BUSY = """end=$((SECONDS + 25))
while [ $SECONDS -lt $end ]; do
  dd if=/dev/urandom of=/var/tmp/busy bs=1M count=8 conv=fsync
  cat /var/tmp/busy > /dev/udp/10.0.2.2/9; sleep 0.3
done"""


class Terminal:
    """A terminal with the tool on it, as a person types it."""

    def __init__(self, *words: str) -> None:
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._stream.feed(f"$ qga {' '.join(words)}\r\n".encode())
        self._pid, self.leader = pty.fork()
        if self._pid == 0:
            os.environ.update(TERM="xterm-256color", QGA_CONNECT=NAME)
            os.execv(sys.executable, [sys.executable, "-m", "qga.tool", *words])
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))

    def watch(self, until: Callable[[str], bool]) -> None:
        """Until the screen shows it, or the tool has ended."""
        deadline = time.monotonic() + PATIENCE
        while not until("\n".join(self._screen.display)):
            if time.monotonic() > deadline:
                raise TimeoutError("\n".join(self._screen.display))
            if not select.select([self.leader], [], [], 0.1)[0]:
                continue
            try:
                self._stream.feed(os.read(self.leader, 65536))
            except OSError:  # EIO: it has ended
                return

    def end(self) -> int:
        self.watch(lambda _: False)
        os.close(self.leader)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def save(self, name: str) -> None:
        lines = [self._line(number) for number in range(ROWS)]
        while not lines[-1].plain.strip():
            lines.pop()
        console = Console(record=True, width=COLUMNS, file=io.StringIO())
        console.print(Text("\n").join(lines))
        path = REPOSITORY / "docs" / f"{name}.svg"
        console.save_svg(str(path), title=f"qga {name}")
        print(path.relative_to(REPOSITORY))

    def _line(self, number: int) -> Text:
        line = Text()
        for column in range(COLUMNS):
            char = self._screen.buffer[number][column]
            styles = [name for name in ("bold", "italics", "reverse") if getattr(char, name)]
            if char.fg != "default":
                styles.append(_color(char.fg))
            line.append(char.data, " ".join(styles).replace("italics", "italic"))
        line.rstrip()
        return line


def _color(name: str) -> str:
    return f"#{name}" if len(name) == 6 and not name.isalpha() else {"brown": "yellow"}.get(name, name)


def main() -> None:
    nic = ["-nic", "user,model=virtio-net-pci"]
    with Guest(prepare(), args=nic) as guest, tempfile.TemporaryDirectory() as directory:
        guest.boot()
        guest.check(NETWORK)
        os.chdir(directory)
        Path(NAME).symlink_to(guest.port(AGENT_PORT))
        Path("disk.img").write_bytes(os.urandom(96 << 20))

        status = Terminal("status")
        status.end()
        status.save("status")

        copy = Terminal("cp", "disk.img", ":/var/tmp")
        copy.watch(lambda shown: bool(re.search(r"[5-9]\d%", shown)))
        copy.save("cp")
        copy.end()

        guest.shell_start(BUSY)
        top = Terminal("top")
        enough = time.monotonic() + 8
        top.watch(lambda _: time.monotonic() > enough)
        top.save("top")
        os.write(top.leader, b"q")
        top.end()


if __name__ == "__main__":
    main()
