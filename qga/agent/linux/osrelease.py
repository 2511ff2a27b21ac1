r"""What operating system this is: os-release(5).

Its values are quoted as in a shell: ``NAME="Debian \"GNU/Linux\""``, ``ID=debian``.
"""

from __future__ import annotations

import os
import re

from qga.agent.linux.host import Host

FILES = ("/etc/os-release", "/usr/lib/os-release")
VARIABLE = "QGA_OS_RELEASE"  # names another file, as with QEMU's agent

# The value is in quotes or plain, which nearly all are, or it takes a closer look.
_LINE = re.compile(
    r"""^[^\S\n]*([A-Za-z0-9_]+)[^\S\n]*=[^\S\n]*(?:"([^"\\\n]*)"|([^\s;'"\\]*)|(.*))$""", re.MULTILINE
)
# A quote that is never closed reaches to the end of the line.
_PART = re.compile(r"""'([^']*)'?|"((?:[^"\\]|\\.)*)\\?"?|\\(.)|([^\s;'"\\]+)""")
_ESCAPE = re.compile(r"""\\([$"'`\\])""")


def parse_os_release(text: str) -> dict[str, str]:
    """Return the last value of each name; a line that is not an assignment is left out."""
    return {
        name: quoted or plain or (_value(other) if other else "")
        for name, quoted, plain, other in _LINE.findall(text)
    }


def read_os_release(host: Host) -> dict[str, str]:
    """Return the variables of the first file that can be read, or none."""
    named = os.environ.get(VARIABLE)
    for path in (named,) if named else FILES:
        try:
            text = host.read(path)
        except OSError:
            continue
        return parse_os_release(text.encode(errors="surrogateescape").decode(errors="replace"))
    return {}


def _value(text: str) -> str:
    """Return the first word, as a shell takes it."""
    value, at = "", 0
    while part := _PART.match(text, at):
        single, double, escaped, plain = part.groups()
        value += _ESCAPE.sub(r"\1", double) if double is not None else single or escaped or plain or ""
        at = part.end()
    return value
