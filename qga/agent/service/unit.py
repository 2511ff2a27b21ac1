"""``--print-unit``: a drop-in for qemu-ga.service that limits the agent to what its profile needs.

The rule it keeps: what a profile permits works within its limits. So profiles that freeze have no mount namespace, in
which they might not see every mount of the guest; the others have one, and do not run as root.

Source of the settings: systemd.exec(5), systemd.resource-control(5), capabilities(7).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from qga.agent.config import Config

USER = "qemu-ga"  # created by qemu-ga.sysusers

_FAMILIES = {"vsock-listen": " AF_VSOCK"}
_DEVICES = {"virtio-serial": ("char-virtio-portsdev rw",), "isa-serial": ("char-ttyS rw",)}
_GROUPS = {"isa-serial": "dialout"}

_NEVER = "@cpu-emulation @debug @module @obsolete @raw-io @reboot @swap"
# Hooks become another user (which PAM writes to the kernel's audit log), read and write that user's files, and end
# what they have started.
_HOOK_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")

# For every profile but full, which needs whatever guest-exec may be used for.
_ALWAYS = (
    "NoNewPrivileges=yes",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "UMask=0077",
)

# Not root, and nothing writable but port, journal, D-Bus and log directory.
_SANDBOX = (
    f"User={USER}",
    f"Group={USER}",
    f"RuntimeDirectory={USER}",
    f"LogsDirectory={USER}",
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "RemoveIPC=yes",
    "DevicePolicy=closed",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "MemoryDenyWriteExecute=yes",
    "IPAddressDeny=any",
)


@dataclass(frozen=True)
class Limits:
    """The limits of a profile's unit: ``capabilities`` of capabilities(7), system ``calls``, address ``families``.

    A ``sandboxed`` one runs in a mount namespace of its own, and not as root.
    """

    capabilities: tuple[str, ...]
    calls: tuple[str, ...]
    families: str
    sandboxed: bool = False
    settings: tuple[str, ...] = ()


# CAP_SYS_ADMIN is for freeze, thaw and trim; CAP_DAC_READ_SEARCH to reach mount points in directories of any user.
# Where the agent is not root, CAP_KILL lets it signal init to shut down.
LIMITS: dict[str, Limits] = {
    "managed": Limits(
        capabilities=(
            *("CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_TIME"),
            # chpasswd and PAM write /etc/shadow; keys are written as their user.
            *(
                "CAP_AUDIT_WRITE",
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_SETGID",
                "CAP_SETUID",
            ),
        ),
        calls=(f"~{_NEVER}",),
        families="AF_UNIX AF_NETLINK AF_INET AF_INET6",
        settings=("IPAddressDeny=any", "IPAddressAllow=localhost"),
    ),
    "backup": Limits(
        capabilities=("CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"),
        calls=(f"~{_NEVER} @clock",),
        families="AF_UNIX AF_NETLINK AF_INET AF_INET6",  # hooks connect to databases of this guest
        settings=("IPAddressDeny=any", "IPAddressAllow=localhost"),
    ),
    "info": Limits(
        capabilities=("CAP_KILL",),
        calls=("@system-service", "~@privileged @resources @clock"),
        families="AF_UNIX AF_NETLINK",
        sandboxed=True,
        settings=("ProtectHome=read-only",),
    ),
    "confidential": Limits(
        capabilities=("CAP_KILL",),
        calls=("@system-service", "~@privileged @resources @clock"),
        families="AF_UNIX",
        sandboxed=True,
        settings=("ProtectHome=yes", "ProtectHostname=yes", "ProcSubset=pid"),
    ),
}


def drop_in(config: Config, profile: str | None = None) -> str:
    """Return the text of the drop-in, by default for the profile in effect, with a newline after every line."""
    profile = profile or config.profile or "full"
    lines = [f"# Limits of qemu-ga.service for the profile {profile}, by qemu-ga --print-unit."]
    if profile == "full":
        lines += ["# There are none but the unit's own: guest-exec runs any program with the rights of the agent."]
        return "\n".join([*lines, "[Service]"]) + "\n"
    limits = LIMITS[profile]
    capabilities = " ".join(_capabilities(config, limits))
    lines += ["[Service]", f"CapabilityBoundingSet={capabilities}"]
    if limits.sandboxed:
        lines += [f"AmbientCapabilities={capabilities}", *_SANDBOX, *_port(config), *_needed(config)]
    lines += [*limits.settings, *_ALWAYS]
    families = limits.families + _FAMILIES.get(config.method, "")
    lines += [f"RestrictAddressFamilies={families}", "SystemCallFilter="]
    lines += [f"SystemCallFilter={calls}" for calls in limits.calls]
    return "\n".join(lines) + "\n"


def _capabilities(config: Config, limits: Limits) -> list[str]:
    hooks = _HOOK_CAPABILITIES if config.fsfreeze_hook is not None and not limits.sandboxed else ()
    return [*dict.fromkeys((*limits.capabilities, *hooks))]


def _port(config: Config) -> list[str]:
    """Return lines that give the virtio port, which is root's, to the agent's user while the service runs.

    A udev rule would open it also where the agent is root. ``+`` runs a command with the rights of root and without
    these limits, ``-`` ignores its failure where the port was unplugged: systemd.service(5). The
    unit itself takes the port back at every start, in case this drop-in is replaced while the service runs.
    """
    if config.method != "virtio-serial" or config.path is None:
        return []
    path = _quoted(config.path)
    return [f"ExecStartPre=+/bin/chown {USER} {path}", f"ExecStopPost=+-/bin/chown root {path}"]


def _quoted(word: str) -> str:
    """Quote a word of a command line, so that systemd.service(5) and systemd.unit(5) replace nothing in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or not word.isprintable() or " " in word else word


def _needed(config: Config) -> list[str]:
    """Return lines for what a sandboxed agent needs: its device, and the directories of its logs."""
    lines = [f"DeviceAllow={device}" for device in _DEVICES.get(config.method, ())]
    if config.method in _GROUPS:
        lines.append(f"SupplementaryGroups={_GROUPS[config.method]}")
    logs = [path for path in (config.logfile, config.audit_log) if path is not None and path.startswith("/")]
    return lines + [f"ReadWritePaths=-{os.path.dirname(path)}" for path in logs]
