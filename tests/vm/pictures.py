"""``make pictures``: docs/status.svg, cp.svg and top.svg, of the tool and a real guest, for the README."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

from tests.vm.guest import AGENT_PORT, Guest
from tests.vm.image import REPOSITORY
from tests.vm.prepare import prepare

COLUMNS, ROWS = 96, 30
PATIENCE = 60.0  # seconds
BUSY = "for i in 1 2; do dd if=/dev/zero of=/var/tmp/busy bs=1M count=40 conv=fsync; md5sum /var/tmp/busy; done"


class Terminal:
    """A terminal with the tool on it, as a person types it."""

    def __init__(self, address: Path, *words: str) -> None:
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._stream.feed(f"$ qga {' '.join(words)}\r\n".encode())
        self._pid, self.leader = pty.fork()
        if self._pid == 0:
            os.environ.update(TERM="xterm-256color", QGA_CONNECT=str(address))
            os.execv(sys.executable, [sys.executable, "-m", "qga.client.cli", *words])
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


@contextmanager
def file_of(size: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        Path("disk.img").write_bytes(os.urandom(size))
        yield "disk.img"


def main() -> None:
    with Guest(prepare()) as guest:
        guest.boot()
        address = guest.port(AGENT_PORT)
        status = Terminal(address, "status")
        status.end()
        status.save("status")
        with file_of(96 << 20) as name:
            copy = Terminal(address, "cp", name, ":/var/tmp")
            copy.watch(lambda shown: " 6" in shown and "% " in shown.split(" 6")[1])
            copy.save("cp")
            copy.end()
        guest.shell_start(BUSY)
        top = Terminal(address, "top")
        shown_at = time.monotonic() + 8
        top.watch(lambda _: time.monotonic() > shown_at)
        top.save("top")
        os.write(top.leader, b"q")
        top.end()


if __name__ == "__main__":
    main()
