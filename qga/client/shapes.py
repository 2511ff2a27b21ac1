"""What the reply of each command is made of: ``qga.client.reading`` holds replies to it.

Generated from schema/ by tests/client_source.py: change that, not this.
"""

# fmt: off
from __future__ import annotations

from typing import TypeAlias

# int, uint64, bool, str, number, or a name of OBJECTS or UNIONS; a list of one is a list of those.
Shape: TypeAlias = "str | list[Shape]"
Members: TypeAlias = "dict[str, Shape]"  # * before a name: it may be missing

RETURNS: dict[str, Shape | None] = {
    "guest-set-user-password": None,
    "guest-ssh-get-authorized-keys": "GuestAuthorizedKeys",
    "guest-ssh-add-authorized-keys": None,
    "guest-ssh-remove-authorized-keys": None,
    "guest-get-vcpus": ["GuestLogicalProcessor"],
    "guest-set-vcpus": "int",
    "guest-get-cpustats": ["GuestCpuStats"],
    "guest-get-load": "GuestLoadAverage",
    "guest-get-disks": ["GuestDiskInfo"],
    "guest-get-diskstats": ["GuestDiskStatsInfo"],
    "guest-exec": "GuestExec",
    "guest-exec-status": "GuestExecStatus",
    "guest-file-open": "int",
    "guest-file-close": None,
    "guest-file-read": "GuestFileRead",
    "guest-file-write": "GuestFileWrite",
    "guest-file-seek": "GuestFileSeek",
    "guest-file-flush": None,
    "guest-get-fsinfo": ["GuestFilesystemInfo"],
    "guest-fstrim": "GuestFilesystemTrimResponse",
    "guest-fsfreeze-status": "str",
    "guest-fsfreeze-freeze": "int",
    "guest-fsfreeze-freeze-list": "int",
    "guest-fsfreeze-thaw": "int",
    "guest-get-memory-blocks": ["GuestMemoryBlock"],
    "guest-set-memory-blocks": ["GuestMemoryBlockResponse"],
    "guest-get-memory-block-info": "GuestMemoryBlockInfo",
    "guest-network-get-interfaces": ["GuestNetworkInterface"],
    "guest-network-get-route": ["GuestNetworkRoute"],
    "guest-shutdown": None,
    "guest-suspend-disk": None,
    "guest-suspend-ram": None,
    "guest-suspend-hybrid": None,
    "guest-sync-delimited": "int",
    "guest-sync": "int",
    "guest-ping": None,
    "guest-info": "GuestAgentInfo",
    "guest-get-host-name": "GuestHostName",
    "guest-get-users": ["GuestUser"],
    "guest-get-timezone": "GuestTimezone",
    "guest-get-osinfo": "GuestOSInfo",
    "guest-get-time": "int",
    "guest-set-time": None,
}

OBJECTS: dict[str, Members] = {
    "GuestAuthorizedKeys": {"keys": ["str"]},
    "GuestLogicalProcessor": {"logical-id": "int", "online": "bool", "*can-offline": "bool"},
    "GuestLoadAverage": {"load1m": "number", "load5m": "number", "load15m": "number"},
    "GuestPCIAddress": {"domain": "int", "bus": "int", "slot": "int", "function": "int"},
    "GuestCCWAddress": {"cssid": "int", "ssid": "int", "subchno": "int", "devno": "int"},
    "GuestDiskAddress": {"pci-controller": "GuestPCIAddress", "bus-type": "str", "bus": "int", "target": "int",
        "unit": "int", "*serial": "str", "*dev": "str", "*ccw-address": "GuestCCWAddress"},
    "GuestDiskInfo": {"name": "str", "partition": "bool", "*dependencies": ["str"], "*address": "GuestDiskAddress",
        "*alias": "str", "*smart": "GuestDiskSmart"},
    "GuestDiskStats": {"*read-sectors": "uint64", "*read-ios": "uint64", "*read-merges": "uint64", "*write-sectors":
        "uint64", "*write-ios": "uint64", "*write-merges": "uint64", "*discard-sectors": "uint64", "*discard-ios":
        "uint64", "*discard-merges": "uint64", "*flush-ios": "uint64", "*read-ticks": "uint64", "*write-ticks":
        "uint64", "*discard-ticks": "uint64", "*flush-ticks": "uint64", "*ios-pgr": "uint64", "*total-ticks":
        "uint64", "*weight-ticks": "uint64"},
    "GuestDiskStatsInfo": {"name": "str", "major": "uint64", "minor": "uint64", "stats": "GuestDiskStats"},
    "GuestExec": {"pid": "int"},
    "GuestExecStatus": {"exited": "bool", "*exitcode": "int", "*signal": "int", "*out-data": "str", "*err-data":
        "str", "*out-truncated": "bool", "*err-truncated": "bool"},
    "GuestFileRead": {"count": "int", "buf-b64": "str", "eof": "bool"},
    "GuestFileWrite": {"count": "int", "eof": "bool"},
    "GuestFileSeek": {"position": "int", "eof": "bool"},
    "GuestFilesystemInfo": {"name": "str", "mountpoint": "str", "type": "str", "*used-bytes": "uint64",
        "*total-bytes": "uint64", "*total-bytes-privileged": "uint64", "disk": ["GuestDiskAddress"]},
    "GuestFilesystemTrimResult": {"path": "str", "*trimmed": "int", "*minimum": "int", "*error": "str"},
    "GuestFilesystemTrimResponse": {"paths": ["GuestFilesystemTrimResult"]},
    "GuestMemoryBlock": {"phys-index": "uint64", "online": "bool", "*can-offline": "bool"},
    "GuestMemoryBlockResponse": {"phys-index": "uint64", "response": "str", "*error-code": "int"},
    "GuestMemoryBlockInfo": {"size": "uint64"},
    "GuestIpAddress": {"ip-address": "str", "ip-address-type": "str", "prefix": "int"},
    "GuestNetworkInterfaceStat": {"rx-bytes": "uint64", "rx-packets": "uint64", "rx-errs": "uint64", "rx-dropped":
        "uint64", "tx-bytes": "uint64", "tx-packets": "uint64", "tx-errs": "uint64", "tx-dropped": "uint64"},
    "GuestNetworkInterface": {"name": "str", "*hardware-address": "str", "*ip-addresses": ["GuestIpAddress"],
        "*statistics": "GuestNetworkInterfaceStat"},
    "GuestNetworkRoute": {"iface": "str", "destination": "str", "metric": "int", "*gateway": "str", "*mask": "str",
        "*irtt": "int", "*flags": "uint64", "*refcnt": "int", "*use": "int", "*window": "int", "*mtu": "int",
        "version": "int", "*desprefixlen": "str", "*source": "str", "*srcprefixlen": "str", "*nexthop": "str"},
    "GuestAgentCommandInfo": {"name": "str", "enabled": "bool", "success-response": "bool"},
    "GuestAgentInfo": {"version": "str", "supported_commands": ["GuestAgentCommandInfo"]},
    "GuestHostName": {"host-name": "str"},
    "GuestUser": {"user": "str", "login-time": "number", "*domain": "str"},
    "GuestTimezone": {"*zone": "str", "offset": "int"},
    "GuestOSInfo": {"*kernel-release": "str", "*kernel-version": "str", "*machine": "str", "*id": "str", "*name":
        "str", "*pretty-name": "str", "*version": "str", "*version-id": "str", "*variant": "str", "*variant-id":
        "str"},
}

UNIONS: dict[str, tuple[Members, str, dict[str, Members]]] = {
    "GuestCpuStats": ({"type": "str"}, "type", {"linux": {"cpu": "int", "user": "uint64", "nice": "uint64", "system":
        "uint64", "idle": "uint64", "*iowait": "uint64", "*irq": "uint64", "*softirq": "uint64", "*steal": "uint64",
        "*guest": "uint64", "*guestnice": "uint64"}}),
    "GuestDiskSmart": ({"type": "str"}, "type", {"nvme": {"critical-warning": "int", "temperature": "int",
        "available-spare": "int", "available-spare-threshold": "int", "percentage-used": "int", "data-units-read-lo":
        "uint64", "data-units-read-hi": "uint64", "data-units-written-lo": "uint64", "data-units-written-hi":
        "uint64", "host-read-commands-lo": "uint64", "host-read-commands-hi": "uint64", "host-write-commands-lo":
        "uint64", "host-write-commands-hi": "uint64", "controller-busy-time-lo": "uint64", "controller-busy-time-hi":
        "uint64", "power-cycles-lo": "uint64", "power-cycles-hi": "uint64", "power-on-hours-lo": "uint64",
        "power-on-hours-hi": "uint64", "unsafe-shutdowns-lo": "uint64", "unsafe-shutdowns-hi": "uint64",
        "media-errors-lo": "uint64", "media-errors-hi": "uint64", "number-of-error-log-entries-lo": "uint64",
        "number-of-error-log-entries-hi": "uint64"}}),
}
