"""User accounts of the guest: passwords, and the SSH keys that may log in."""

from __future__ import annotations

from pwd import struct_passwd

from qga.agent.context import Context
from qga.agent.linux import sshkeys
from qga.protocol import base64
from qga.protocol.errors import CommandError


async def guest_set_user_password(ctx: Context, *, username: str, password: str, crypted: bool) -> None:
    """Set a password with chpasswd(8), which reads a line ``user:password``; characters that break it are refused."""
    raw = base64.decode(password)
    if b"\n" in raw or b"\0" in raw:
        raise CommandError("forbidden characters in raw password")
    if any(character in username for character in "\n:\0"):
        raise CommandError("forbidden characters in username")
    line = username.encode(errors="surrogateescape") + b":" + raw + b"\n"
    argv = ("chpasswd", "-e") if crypted else ("chpasswd",)
    await ctx.workers(lambda: ctx.host.run(argv, stdin=line).require("chpasswd", "set user password"))


async def guest_ssh_get_authorized_keys(ctx: Context, *, username: str) -> dict[str, object]:
    """Return the lines of the user's ~/.ssh/authorized_keys that hold a key: sshd(8).

    A process running as the user reads the file, in a worker: a home directory on a network server may be slow.
    """
    return {"keys": await ctx.workers(lambda: sshkeys.list_keys(ctx.host, _user(ctx, username)))}


async def guest_ssh_add_authorized_keys(ctx: Context, *, username: str, keys: list[str], reset: bool = False) -> None:
    """Add missing keys to the user's ~/.ssh/authorized_keys, or with ``reset`` replace all keys in it.

    A process running as the user writes a new file and moves it into place atomically: rename(2).
    """
    lines = _lines(keys)
    await ctx.workers(lambda: sshkeys.add_keys(ctx.host, _user(ctx, username), lines, reset=reset))


async def guest_ssh_remove_authorized_keys(ctx: Context, *, username: str, keys: list[str]) -> None:
    """Rewrite the user's ~/.ssh/authorized_keys without the lines that are exactly one of the keys.

    A process running as the user does this. If the file does not exist, nothing is done.
    """
    lines = _lines(keys)
    await ctx.workers(lambda: sshkeys.remove_keys(ctx.host, _user(ctx, username), lines))


def _user(ctx: Context, name: str) -> struct_passwd:
    try:
        return ctx.host.user(name)
    except (KeyError, ValueError) as error:  # ValueError: a name that no user can have, with a NUL in it
        raise CommandError(f"failed to lookup user '{name}': No such user") from error


def _lines(keys: list[str]) -> list[bytes]:
    """Return the keys as lines of the file. Raises CommandError for a key of several lines and for a comment."""
    for key in keys:
        if key.startswith("#") or "\n" in key or "\0" in key:
            raise CommandError(f"invalid OpenSSH public key: '{key}'")
    return [key.encode(errors="surrogateescape") for key in keys]
