"""Who is logged in: utmp(5), or, where that is gone, what logind knows: sd-login(3)."""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Iterable
from typing import NamedTuple

from qga.agent.linux.host import Host
from qga.agent.linux.numbers import number

UTMP = "/var/run/utmp"
SESSIONS = "/run/systemd/sessions"

_USER_PROCESS = 7
# type, pid, line, id, user, host, exit, session, time in seconds and microseconds, address, unused. glibc keeps
# numbers of 32 bits for the session and the time where its bits/wordsize.h has __WORDSIZE_TIME64_COMPAT32 1, so that
# 32-bit programs can share the file: x86, ppc64, riscv, mips64, sparc64; a 32-bit machine has no others. They have 64
# bits where that is 0, and on s390, whose bits/utmp.h says so itself. (glibc 2.36, as Debian has it for each.)
_NARROW = struct.Struct("=h2xi32s4s32s256s2hiii16s20x")
_WIDE = struct.Struct("=h2xi32s4s32s256s2hqqq16s20x4x")
_WIDE_MACHINES = ("aarch64", "aarch64_be", "alpha", "ia64", "loongarch64", "s390", "s390x")


class Login(NamedTuple):
    """A login of a user. ``time`` is in seconds since 1970."""

    user: str
    time: float


def parse_utmp(data: bytes, machine: str) -> list[Login]:
    """Return every login, in the order of the file; ``machine`` as uname(2) calls it.

    Where another layout makes more sense of the file, it is that: musl has 64 bits everywhere.
    """
    own, other = (_WIDE, _NARROW) if machine in _WIDE_MACHINES else (_NARROW, _WIDE)
    logins = _logins(data, own)
    if len(data) % other.size == 0:
        logins = max(logins, _logins(data, other), key=len)  # of as many, the first
    return logins


def _logins(data: bytes, record: struct.Struct) -> list[Login]:
    logins = []
    whole = len(data) // record.size * record.size
    for kind, _, _, _, user, _, _, _, _, seconds, micros, _ in record.iter_unpack(data[:whole]):
        if kind == _USER_PROCESS and user[0] and 0 <= micros < 1_000_000:
            logins.append(Login(os.fsdecode(user.split(b"\0")[0]), seconds + micros / 1e6))
    return logins


def parse_session(text: str) -> Login | None:
    """Return a session of a person; None for that of a greeter, a service or a user's manager."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        if fields["CLASS"].partition("-")[0] == "user" and fields.get("STATE") != "closing":
            return Login(fields["USER"], number(fields["REALTIME"]) / 1e6)
    except (KeyError, ValueError):
        pass
    return None


def list_logins(host: Host) -> list[Login]:
    """Return the earliest login of each user, in the order of their first."""
    try:
        with open(host.path(UTMP), "rb") as file:
            data = file.read()
    except OSError:
        return _earliest(sorted(_sessions(host), key=lambda login: login.time))
    return _earliest(parse_utmp(data, platform.machine()))


def _sessions(host: Host) -> list[Login]:
    try:
        with os.scandir(host.path(SESSIONS)) as entries:
            # Beside each lies a FIFO: to open that would wait for the session's end.
            names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:
        return []
    logins = []
    for name in names:
        try:
            login = parse_session(host.read(f"{SESSIONS}/{name}"))
        except OSError:  # it has just ended
            continue
        if login is not None:
            logins.append(login)
    return logins


def _earliest(logins: Iterable[Login]) -> list[Login]:
    found: dict[str, Login] = {}
    for login in logins:
        known = found.setdefault(login.user, login)
        if login.time < known.time:
            found[login.user] = login
    return list(found.values())
