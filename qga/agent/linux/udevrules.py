"""Which services udev's rules start with a virtio-serial port, as far as rules can be read without carrying them out.

A rule is a line of matches and assignments: udev(7). The last ``=`` to ENV{SYSTEMD_WANTS} forgets what rules before
it have added, and the rules are taken in the order of their files' names, whatever directory these lie in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from qga.agent.linux.host import Host

DIRECTORIES = (  # the first that has a file of a name hides the others'
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
)
_ITEM = re.compile(r'([A-Z_]+(?:\{[^}]*\})?)\s*(==|!=|\+=|-=|:=|=)\s*"((?:[^"\\]|\\.)*)"')
_WANTS = "ENV{SYSTEMD_WANTS}"


class Start(NamedTuple):
    """A service that udev has systemd start; ``place`` is the file and the line of the rule."""

    service: str
    place: str


def starts(host: Host, port: str) -> list[Start]:
    """Return the services that are started when the virtio-serial port of this name appears."""
    facts = {"ACTION": "add", "SUBSYSTEM": "virtio-ports", "ATTR{name}": port, "KERNEL": "vport0p1"}
    found: list[Start] = []
    for path in list_rules(host):
        label = None
        for number, line in _lines(host, path):
            items = _ITEM.findall(line)
            if label is not None:
                label = None if ("LABEL", "=", label) in items else label
            elif all(_matches(facts, key, sign, value) for key, sign, value in items if sign in ("==", "!=")):
                for key, sign, value in items:
                    if key == _WANTS and sign in ("=", ":=", "+="):
                        added = [Start(service, f"{path}, line {number}") for service in value.split()]
                        found = [*(found if sign == "+=" else ()), *added]
                    elif key == "GOTO":
                        label = value
    return found


def list_rules(host: Host) -> list[str]:
    """Return the paths of the files of rules in udev's order."""
    paths: dict[str, str] = {}
    for directory in reversed(DIRECTORIES):
        try:
            names = os.listdir(host.path(directory))
        except OSError:
            continue
        paths.update((name, f"{directory}/{name}") for name in names if name.endswith(".rules"))
    return [paths[name] for name in sorted(paths)]


def _lines(host: Host, path: str) -> Iterator[tuple[int, str]]:
    """Yield each rule of a file with the number of its first line; ``\\`` continues a line."""
    try:
        lines = host.read(path).splitlines()
    except (OSError, UnicodeDecodeError):  # a link that leads nowhere
        return
    rule, first = "", 1
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        first = first if rule else number
        rule += line.rstrip().removesuffix("\\")
        if not line.rstrip().endswith("\\"):
            yield first, rule
            rule = ""


def _matches(facts: dict[str, str], key: str, sign: str, value: str) -> bool:
    """Return whether a fact meets a match; what is not known of the port counts as another value than any."""
    fits = key in facts and any(fnmatchcase(facts[key], pattern) for pattern in value.split("|"))
    return fits == (sign == "==")
