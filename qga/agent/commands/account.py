"""Users of the guest: their passwords, and the SSH keys that open their accounts."""

from __future__ import annotations

from pwd import struct_passwd

from qga.agent.context import Context
from qga.agent.linux import sshkeys
from qga.protocol import base64
from qga.protocol.errors import CommandError


async def guest_set_user_password(ctx: Context, *, username: str, password: str, crypted: bool) -> None:
    """Set a password by chpasswd(8), which takes a line ``user:password``: what would break that line is refused."""
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

    The file is read by a process that has become the user, in a worker: a home on a server may be slow.
    """
    return {"keys": await ctx.workers(lambda: sshkeys.list_keys(ctx.host, _user(ctx, username)))}


async def guest_ssh_add_authorized_keys(ctx: Context, *, username: str, keys: list[str], reset: bool = False) -> None:
    """Append to the user's ~/.ssh/authorized_keys the keys that it lacks, or with ``reset`` write it anew.

    This is done as the user, and a new file takes the place of the old one in one step: rename(2).
    """
    lines = _lines(keys)
    await ctx.workers(lambda: sshkeys.add_keys(ctx.host, _user(ctx, username), lines, reset=reset))


async def guest_ssh_remove_authorized_keys(ctx: Context, *, username: str, keys: list[str]) -> None:
    """Rewrite the user's ~/.ssh/authorized_keys without the lines that are exactly one of the keys.

    This is done as the user. Where the file does not exist, nothing has to be done.
    """
    lines = _lines(keys)
    await ctx.workers(lambda: sshkeys.remove_keys(ctx.host, _user(ctx, username), lines))


def _user(ctx: Context, name: str) -> struct_passwd:
    try:
        return ctx.host.user(name)
    except (KeyError, ValueError) as error:  # ValueError: a name that no user can have, with a NUL in it
        raise CommandError(f"failed to lookup user '{name}': No such user") from error


def _lines(keys: list[str]) -> list[bytes]:
    """Return the keys as lines of the file. Raises CommandError for what is not exactly one line, or a comment."""
    for key in keys:
        if key.startswith("#") or "\n" in key or "\0" in key:
            raise CommandError(f"invalid OpenSSH public key: '{key}'")
    return [key.encode(errors="surrogateescape") for key in keys]
