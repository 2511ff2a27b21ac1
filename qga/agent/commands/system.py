"""Facts about the guest: host name, operating system, time zone, logged-in users."""

from __future__ import annotations

from qga.agent.context import Context
from qga.agent.linux.osrelease import read_os_release
from qga.agent.linux.users import list_logins

_FROM_OS_RELEASE = ("ID", "NAME", "PRETTY_NAME", "VERSION", "VERSION_ID", "VARIANT", "VARIANT_ID")


def guest_get_host_name(ctx: Context) -> dict[str, object]:
    """Return the node name of uname(2)."""
    return {"host-name": ctx.host.uname().nodename}


def guest_get_users(ctx: Context) -> list[dict[str, object]]:
    """Return the earliest login of each user, from utmp(5) or, if that does not exist, from logind's files."""
    return [{"user": login.user, "login-time": login.time} for login in list_logins(ctx.host)]


def guest_get_timezone(ctx: Context) -> dict[str, object]:
    """Return the time zone set by $TZ or /etc/localtime, and its offset in seconds east of UTC: tzset(3)."""
    zone, offset = ctx.host.timezone()
    return {"zone": zone, "offset": offset}


def guest_get_osinfo(ctx: Context) -> dict[str, object]:
    """Return the kernel's names from uname(2) and the distribution's from os-release(5)."""
    kernel = ctx.host.uname()
    release = read_os_release(ctx.host)
    named = {name.lower().replace("_", "-"): release[name] for name in _FROM_OS_RELEASE if name in release}
    return {
        "kernel-release": kernel.release,
        "kernel-version": kernel.version,
        "machine": kernel.machine,
        **named,
    }
