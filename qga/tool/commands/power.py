"""What changes the guest by one command: trim, suspend, shutdown, time, passwd, ssh-key."""

from __future__ import annotations

import argparse
import re
import sys
import time as clock

import pybase64

from qga.client.client import Client
from qga.client.errors import AgentTimeout, AgentUnreachable
from qga.tool import output, units
from qga.tool.exits import UsageError

_MODES = {"shutdown": "powerdown", "reboot": "reboot", "halt": "halt"}
_SECONDS = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?", re.ASCII)
_LAST = (2**63 - 1) // 10**9 - 1  # seconds: the agent takes nanoseconds in 64 bits, until 2262
_WAIT = 300.0  # seconds that a guest may take to go


def trim(client: Client, options: argparse.Namespace) -> None:
    told = client.call_raw("guest-fstrim")
    if options.json:
        return output.json(told)
    rows = [(one["path"], one.get("error") or units.size(one.get("trimmed", 0))) for one in told["paths"]]
    return output.table(("path", "trimmed"), rows)


def suspend(client: Client, options: argparse.Namespace) -> None:
    client.call_raw(f"guest-suspend-{options.how}")


def power(client: Client, options: argparse.Namespace) -> None:
    """With ``gone``, returns once no agent answers any more."""
    client.call_raw("guest-shutdown", {"mode": _MODES[options.subcommand]})
    deadline = clock.monotonic() + _WAIT
    while options.gone:
        try:
            client.call_raw("guest-ping", timeout=5)
        except (AgentUnreachable, AgentTimeout):
            return
        if clock.monotonic() >= deadline:
            raise AgentTimeout(f"the guest still answers after {_WAIT:g} s", command="guest-shutdown")
        clock.sleep(0.5)


def time(client: Client, options: argparse.Namespace) -> None:
    """``sync`` has the guest read its hardware clock."""
    if (options.when is None) is (options.what == "set"):
        expected = "no time" if options.when else "seconds since 1970, or now for this machine's time"
        raise UsageError(f"time {options.what}: expected {expected}")
    if options.what == "sync":
        return client.guest_set_time()
    if options.what == "set":
        return client.guest_set_time(clock.time_ns() if options.when == "now" else nanoseconds(options.when))
    now = client.guest_get_time()
    ahead = now / 10**9 - clock.time()
    if options.json:
        return output.json({"nanoseconds": now, "ahead": ahead})
    utc = clock.strftime("%Y-%m-%d %H:%M:%S", clock.gmtime(now // 10**9))
    output.line(f"{utc} UTC, {abs(ahead):.3f} s {'ahead of' if ahead > 0 else 'behind'} this machine")
    return None


def nanoseconds(text: str) -> int:
    """Of seconds since 1970, with a fraction or without, as ``date +%s.%N`` writes them."""
    match = _SECONDS.fullmatch(text)
    if match is None or int(match[1]) > _LAST:
        raise UsageError(f"{text!r} is not a time: expected seconds since 1970, at most {_LAST}, or now")
    return int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))


def passwd(client: Client, options: argparse.Namespace) -> None:
    """Asked twice on a terminal; one line of stdin otherwise. Never in the arguments, where others see it."""
    if sys.stdin.isatty():
        import getpass

        password = getpass.getpass(f"New password of {options.user}: ")
        if getpass.getpass("Again: ") != password:
            raise UsageError("the two passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise UsageError("the password is empty")
    encoded = pybase64.b64encode_as_string(password.encode())
    client.guest_set_user_password(options.user, encoded, options.crypted)


def ssh_key(client: Client, options: argparse.Namespace) -> None:
    """A key is its line, or a file here that holds some."""
    if options.what == "list":
        if options.keys:
            raise UsageError("expected add or remove before the user and the keys")
        keys = client.guest_ssh_get_authorized_keys(options.user).keys
        if options.json:
            return output.json(keys)
        for key in keys:
            output.line(key)
        return None
    keys = [key for word in options.keys for key in _keys(word)]
    if not keys:
        raise UsageError("expected a key, or a file of keys")
    if options.what == "add":
        return client.guest_ssh_add_authorized_keys(options.user, keys)
    return client.guest_ssh_remove_authorized_keys(options.user, keys)


def _keys(word: str) -> list[str]:
    if " " in word:
        return [word]
    with open(word, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]
