"""Checks of the guest: which software it runs, filesystems to freeze, hooks, ways to sleep."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

from qga import __version__
from qga.agent.config.options import FSFREEZE_HOOK
from qga.agent.linux import hooks, power
from qga.agent.linux.mounts import list_mounts, without
from qga.agent.linux.osrelease import read_os_release
from qga.agent.selftest.finding import Finding, Subject, ok, problem, warning
from qga.agent.state import marker
from qga.protocol.errors import CommandError
from qga.protocol.schema import INTERFACE_VERSION

# Types of filesystems on a single block device that the kernel can freeze, as they implement freeze_fs or
# freeze_super. For others FIFREEZE fails with EOPNOTSUPP.
_FREEZABLE = {
    "bcachefs",
    "btrfs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "gfs2",
    "jfs",
    "nilfs2",
    "ocfs2",
    "reiserfs",
    "xfs",
}

_LEFT = {
    marker.MARKER: "filesystems are frozen now, or an agent that was killed has left them frozen",
    marker.HOOKS: "hooks were run with 'freeze', no filesystem is frozen, and there was no thaw yet",
    marker.NOTE: "the last freeze ended before a host thawed: the next thaw is an error that says why",
}


def versions(subject: Subject) -> Iterator[Finding]:
    """Report the versions of agent, Python, kernel and distribution."""
    name = read_os_release(subject.host).get("PRETTY_NAME", "an unknown distribution")
    release = subject.host.uname().release
    yield ok(
        f"qga {__version__}, interface of QEMU {INTERFACE_VERSION}, Python {platform.python_version()},"
        f" Linux {release}, {name}"
    )


def freezing(subject: Subject) -> Iterator[Finding]:
    """Report which filesystems guest-fsfreeze-freeze freezes, and why it leaves others out."""
    host, config = subject.host, subject.config
    for name, state in _LEFT.items():
        if os.path.lexists(host.path(os.path.join(config.statedir, name))):
            yield warning(state, "guest-fsfreeze-thaw")
    try:
        mounts = list_mounts(host)
    except CommandError as error:
        yield problem(str(error), "mount /proc")
        return
    kept = without(mounts, config.exclude_fs)
    can = [mount for mount in kept if mount.fstype in _FREEZABLE and not mount.hidden]
    for mount in mounts:
        where = f"{mount.mountpoint} ({mount.fstype} on {mount.source})"
        if mount in can:
            yield ok(f"{where} can be frozen")
        elif mount not in kept:
            yield ok(f"{where} is left out: exclude-fs")
        elif mount.hidden:
            yield warning(f"{where} is left out: another mount hides it", "unmount one of the two")
        else:
            yield ok(f"{where} is left out: the kernel cannot freeze {mount.fstype}")
    if not can:
        yield warning("no filesystem of this guest can be frozen", "snapshots of it are not consistent")


def hooks_valid(subject: Subject) -> Iterator[Finding]:
    """Check that the freeze hooks exist, can be executed, and can be changed only by root."""
    host, path = subject.host, subject.config.fsfreeze_hook
    if path is None:
        if os.path.exists(host.path(FSFREEZE_HOOK)):
            yield ok(
                f"no fsfreeze-hook is configured; {FSFREEZE_HOOK} exists", f"set fsfreeze-hook to {FSFREEZE_HOOK}"
            )
        else:
            yield ok("no fsfreeze-hook is configured")
        return
    todo = "correct it, or remove fsfreeze-hook: until then nothing can be frozen"
    if not os.path.exists(host.path(path)):
        yield problem(f"the fsfreeze hook {path} does not exist", todo)
        return
    try:
        found = hooks.list_hooks(host, path)
    except CommandError as error:
        yield problem(str(error), todo)
        return
    broken = [hook for hook in found if not os.access(host.path(hook), os.X_OK)]
    if broken:
        yield problem(f"the fsfreeze hook {broken[0]} cannot be executed", todo)
    else:
        yield ok(f"fsfreeze hooks: {', '.join(found) or f'{path} has none'}")


def sleeping(subject: Subject) -> Iterator[Finding]:
    """Report which method would be used for each suspend mode, without trying any."""
    for mode in (power.RAM, power.DISK, power.HYBRID):
        refusals: list[str] = []
        for method in power.SLEEP_METHODS:
            refusal = method.probe(subject.host, mode)
            if refusal is None:
                yield ok(f"guest-suspend-{mode.name} would use {method.name}{_before(refusals)}")
                break
            refusals.append(f"{method.name}: {refusal}")
        else:
            todo = "if it is wanted, the host must allow the machine to sleep (libvirt: <pm>)"
            if mode is not power.RAM:
                todo += "; to disk also needs swap space"
            yield ok(f"guest-suspend-{mode.name} is not possible: {'; '.join(refusals)}", todo)


def _before(refusals: list[str]) -> str:
    return f" ({'; '.join(refusals)})" if refusals else ""
