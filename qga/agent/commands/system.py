"""What the guest is: its name, its operating system, its time zone, its users."""

from __future__ import annotations

from qga.agent.context import Context
from qga.agent.linux.osrelease import read_os_release
from qga.agent.linux.users import list_logins

_FROM_OS_RELEASE = ("ID", "NAME", "PRETTY_NAME", "VERSION", "VERSION_ID", "VARIANT", "VARIANT_ID")


def guest_get_host_name(ctx: Context) -> dict[str, object]:
    return {"host-name": ctx.host.uname().nodename}


def guest_get_users(ctx: Context) -> list[dict[str, object]]:
    return [{"user": login.user, "login-time": login.time} for login in list_logins(ctx.host)]


def guest_get_timezone(ctx: Context) -> dict[str, object]:
    zone, offset = ctx.host.timezone()
    return {"zone": zone, "offset": offset}


def guest_get_osinfo(ctx: Context) -> dict[str, object]:
    kernel = ctx.host.uname()
    release = read_os_release(ctx.host)
    named = {name.lower().replace("_", "-"): release[name] for name in _FROM_OS_RELEASE if name in release}
    return {
        "kernel-release": kernel.release,
        "kernel-version": kernel.version,
        "machine": kernel.machine,
        **named,
    }
