"""passwd and ssh-key: the password and the authorized keys of a user of the guest."""

from __future__ import annotations

import argparse
import os
import sys

from qga.client.client import Client
from qga.protocol import base64
from qga.tool import output
from qga.tool.exits import UsageError


def passwd(client: Client, options: argparse.Namespace) -> None:
    """Set a password: asked for twice on a terminal, otherwise one line of stdin; never from the arguments."""
    if sys.stdin.isatty():
        import getpass

        typed = getpass.getpass(f"New password of {options.user}: ")
        if getpass.getpass("Again: ") != typed:
            raise UsageError("the two passwords differ: nothing was changed")
        password = os.fsencode(typed)
    else:
        password = sys.stdin.buffer.readline().rstrip(b"\n")
    if not password:
        raise UsageError("the password is empty: nothing was changed")
    client.guest_set_user_password(options.user, base64.encode(password), options.crypted)


def ssh_key(client: Client, options: argparse.Namespace) -> None:
    """List a user's authorized keys, or add or remove some."""
    if options.what == "list":
        if options.keys:
            raise UsageError("ssh-key list: expected no keys; ssh-key add and ssh-key remove take them")
        keys = client.guest_ssh_get_authorized_keys(options.user).keys
        if options.json:
            return output.json(keys)
        for key in keys:
            output.line(key)
        return None
    keys = [key for word in options.keys for key in _keys(word)]
    if not keys:
        raise UsageError(f"ssh-key {options.what}: expected a public key, or a file with one key per line")
    if options.what == "add":
        return client.guest_ssh_add_authorized_keys(options.user, keys)
    return client.guest_ssh_remove_authorized_keys(options.user, keys)


def _keys(word: str) -> list[str]:
    """Return the keys that a word of the command line means: a key has a space in it, a file's name has not."""
    if " " in word:
        return [word]
    with open(word, encoding="utf-8", errors="surrogateescape") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]
