"""The progress of a copy, on a terminal."""

from __future__ import annotations

import shutil
import sys
import time

from qga.tool import output, units

_REDRAW = 0.1  # seconds
_BESIDE = 62  # columns of a bar beside its name, at most


class Bar:
    """One line on a terminal: how far, how fast, how long still. Nothing where stderr is not a terminal."""

    def __init__(self, name: str) -> None:
        room = max(10, shutil.get_terminal_size().columns - _BESIDE)  # a line that wraps is not drawn over
        name = name if len(name) <= room else f"…{name[1 - room :]}"
        self._name, self._start, self._drawn, self._first = output.clean(name), time.monotonic(), 0.0, -1
        self._is_on = sys.stderr.isatty()

    def __call__(self, done: int, whole: int) -> None:
        """Draw it: ``done`` of ``whole`` bytes are there."""
        now = time.monotonic()
        if self._first < 0:
            self._first = done
        if not self._is_on or (done < whole and now - self._drawn < _REDRAW):
            return
        self._drawn = now
        rate = (done - self._first) / max(now - self._start, 0.001)
        left = units.span((whole - done) / rate) if rate else "?"
        part = done / whole if whole else 1.0
        drawn = "#" * int(part * 20)
        sys.stderr.write(f"\r{self._name} [{drawn:20}] {part:4.0%}  {units.size(rate)}/s  {left} left\033[K")
        sys.stderr.flush()

    def end(self) -> None:
        """Wipe it away."""
        if self._is_on and self._drawn:
            sys.stderr.write("\r\033[K")
