"""What commands return: members that a newer agent adds are ignored, optional ones that are missing are None.

Generated from schema/ by tests/client_source.py: change that, not this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from qga.client.structs import Struct
from qga.client.structs import read as read

CpuStatsType: TypeAlias = Literal["linux"]
"""The operating system that counted.

    "linux": The Linux kernel.
"""

DiskBusType: TypeAlias = Literal[
    "ide",
    "fdc",
    "scsi",
    "virtio",
    "xen",
    "usb",
    "uml",
    "sata",
    "sd",
    "unknown",
    "ieee1394",
    "ssa",
    "fibre",
    "raid",
    "iscsi",
    "sas",
    "mmc",
    "virtual",
    "file-backed-virtual",
    "nvme",
]
"""What a disk is attached to.

    "ide": IDE, which is parallel ATA.
    "fdc": A floppy disk controller.
    "scsi": SCSI, also by virtio-scsi.
    "virtio": A virtio block device.
    "xen": A block device of Xen.
    "usb": USB, whatever the disk is.
    "uml": A block device of User-mode Linux.
    "sata": Serial ATA.
    "sd": A Secure Digital card.
    "unknown": The agent could not find out.
    "ieee1394": IEEE 1394, also called FireWire.
    "ssa": Serial Storage Architecture.
    "fibre": Fibre Channel.
    "raid": A RAID controller.
    "iscsi": SCSI over the network.
    "sas": Serial Attached SCSI.
    "mmc": A MultiMediaCard or eMMC.
    "virtual": A virtual disk; of Windows guests only.
    "file-backed-virtual": A virtual disk that is kept in a file; of Windows guests only.
    "nvme": NVM Express, also over a network.
"""

DiskSmartType: TypeAlias = Literal["nvme"]
"""The kind of disk that reports its health.

    "nvme": An NVM Express disk.
"""

ExecCaptureOutputMode: TypeAlias = Literal["none", "stdout", "stderr", "separated", "merged"]
"""Which output of a program is kept.

    "none": Keep no output.
    "stdout": Keep standard output, discard standard error.
    "stderr": Keep standard error, discard standard output.
    "separated": Keep both, each by itself.
    "merged": Keep both as one stream, in the order of writing, as standard output.
"""

QGASeek: TypeAlias = Literal["set", "cur", "end"]
"""Where a position in a file is counted from.

    "set": The start of the file.
    "cur": The current position of the handle.
    "end": The end of the file.
"""

FsfreezeStatus: TypeAlias = Literal["thawed", "frozen"]
"""Whether the agent holds filesystems frozen.

    "thawed": The agent holds no filesystem frozen.
    "frozen": The agent holds filesystems frozen, and refuses most commands.
"""

MemoryBlockResponseType: TypeAlias = Literal["success", "not-found", "operation-not-supported", "operation-failed"]
"""What became of a memory block.

    "success": It is as requested.
    "not-found": There is no such memory block.
    "operation-not-supported": The kernel cannot change it.
    "operation-failed": The kernel refused; error-code says why.
"""

IpAddressType: TypeAlias = Literal["ipv4", "ipv6"]
"""The version of IP.

    "ipv4": Version 4, such as 192.0.2.1.
    "ipv6": Version 6, such as 2001:db8::1.
"""


@dataclass(frozen=True, slots=True)
class AuthorizedKeys(Struct):
    """The public keys that open a user's account."""

    keys: list[str]
    """Public keys, one line of the file each, in its order; without comments and blank lines."""


@dataclass(frozen=True, slots=True)
class LogicalProcessor(Struct):
    """A processor as the guest's kernel sees it."""

    logical_id: int
    """Number of the processor, as in /sys/devices/system/cpu/cpuN."""
    online: bool
    """Whether the guest uses the processor."""
    can_offline: bool | None = None
    """Whether the processor can be taken offline. Always set in a reply; ignored in a request."""


@dataclass(frozen=True, slots=True)
class CpuStats(Struct):
    """How long a processor has been in which state; which states there are depends on the operating system."""

    type: CpuStatsType
    """The operating system that counted; the other members depend on it."""
    cpu: int
    """Number of the processor, as in /sys/devices/system/cpu/cpuN."""
    user: int
    """Milliseconds in user mode at normal or raised priority, those of guest included."""
    nice: int
    """Milliseconds in user mode at lowered priority, those of guestnice included."""
    system: int
    """Milliseconds in the kernel."""
    idle: int
    """Milliseconds with nothing to do."""
    iowait: int | None = None
    """Milliseconds with nothing to do but wait for a disk. Unset: the kernel does not count them."""
    irq: int | None = None
    """Milliseconds in handlers of hardware interrupts. Unset: the kernel does not count them."""
    softirq: int | None = None
    """Milliseconds in handlers of soft interrupts. Unset: the kernel does not count them."""
    steal: int | None = None
    """Milliseconds that the host gave to others while there was work. Unset: the kernel does not count them."""
    guest: int | None = None
    """Milliseconds spent running virtual machines inside this guest. Unset: the kernel does not count them."""
    guestnice: int | None = None
    """Milliseconds spent running virtual machines of lowered priority. Unset: the kernel does not count them."""


@dataclass(frozen=True, slots=True)
class LoadAverage(Struct):
    """Load averages, as of getloadavg(3)."""

    load1m: float
    """Processes that ran, could run or waited for a disk, on average over the last minute."""
    load5m: float
    """The same over the last 5 minutes."""
    load15m: float
    """The same over the last 15 minutes."""


@dataclass(frozen=True, slots=True)
class PCIAddress(Struct):
    """Where a disk's controller is on PCI."""

    domain: int
    """PCI domain, -1 if the controller is not on PCI."""
    bus: int
    """PCI bus in the domain, -1 if the controller is not on PCI."""
    slot: int
    """PCI device on the bus, -1 if the controller is not on PCI."""
    function: int
    """PCI function of the device, -1 if the controller is not on PCI."""


@dataclass(frozen=True, slots=True)
class CCWAddress(Struct):
    """Where a disk is attached to a channel of s390."""

    cssid: int
    """Number of the channel subsystem."""
    ssid: int
    """Number of the subchannel set."""
    subchno: int
    """Number of the subchannel."""
    devno: int
    """Number of the device."""


@dataclass(frozen=True, slots=True)
class DiskAddress(Struct):
    """Where a disk is attached."""

    pci_controller: PCIAddress
    """Where the disk's controller is on PCI."""
    bus_type: DiskBusType
    """What the disk is attached to."""
    bus: int
    """Which bus or channel of the controller, 0 if it has only one or they have no numbers."""
    target: int
    """SCSI target on the bus, 0 if there is none."""
    unit: int
    """Which disk of the bus or target: SCSI unit, IDE device or SATA port, 0 if they have no numbers."""
    serial: str | None = None
    """Serial number of the disk, as udev has it. Unset: it has none, or the guest has no udev."""
    dev: str | None = None
    """Path of the device file of the disk or partition, such as /dev/vda1. Unset: the guest has no udev."""
    ccw_address: CCWAddress | None = None
    """Where the disk is attached on s390. Unset: it is not attached to a channel."""


@dataclass(frozen=True, slots=True)
class DiskSmart(Struct):
    """What a disk reports of its own health."""

    type: DiskSmartType
    """What kind of disk it is; the other members depend on it."""
    critical_warning: int
    """A bit for each warning, as NVM Express defines them; 0 if there is none."""
    temperature: int
    """Temperature of the disk in kelvins."""
    available_spare: int
    """Spare capacity that is left, in percent."""
    available_spare_threshold: int
    """Percent of spare capacity below which the disk warns."""
    percentage_used: int
    """How much of its expected life the disk has used, in percent; may be more than 100."""
    data_units_read_lo: int
    """Units of 512,000 bytes that the host read: the lower 64 bits."""
    data_units_read_hi: int
    """Units of 512,000 bytes that the host read: the upper 64 bits."""
    data_units_written_lo: int
    """Units of 512,000 bytes that the host wrote: the lower 64 bits."""
    data_units_written_hi: int
    """Units of 512,000 bytes that the host wrote: the upper 64 bits."""
    host_read_commands_lo: int
    """Read commands that were completed: the lower 64 bits."""
    host_read_commands_hi: int
    """Read commands that were completed: the upper 64 bits."""
    host_write_commands_lo: int
    """Write commands that were completed: the lower 64 bits."""
    host_write_commands_hi: int
    """Write commands that were completed: the upper 64 bits."""
    controller_busy_time_lo: int
    """Minutes in which the disk was busy with commands: the lower 64 bits."""
    controller_busy_time_hi: int
    """Minutes in which the disk was busy with commands: the upper 64 bits."""
    power_cycles_lo: int
    """How often the disk was switched on: the lower 64 bits."""
    power_cycles_hi: int
    """How often the disk was switched on: the upper 64 bits."""
    power_on_hours_lo: int
    """Hours that the disk was switched on: the lower 64 bits."""
    power_on_hours_hi: int
    """Hours that the disk was switched on: the upper 64 bits."""
    unsafe_shutdowns_lo: int
    """How often power was lost without notice: the lower 64 bits."""
    unsafe_shutdowns_hi: int
    """How often power was lost without notice: the upper 64 bits."""
    media_errors_lo: int
    """Errors of the data that could not be corrected: the lower 64 bits."""
    media_errors_hi: int
    """Errors of the data that could not be corrected: the upper 64 bits."""
    number_of_error_log_entries_lo: int
    """Entries that the error log ever had: the lower 64 bits."""
    number_of_error_log_entries_hi: int
    """Entries that the error log ever had: the upper 64 bits."""


@dataclass(frozen=True, slots=True)
class DiskInfo(Struct):
    """A disk or a partition."""

    name: str
    """Path of the device file, such as /dev/vda."""
    partition: bool
    """Whether it is a partition, and not a whole disk."""
    dependencies: list[str] | None = None
    """Device files that it lies on: a partition's disk, the disks below a logical volume.

    Unset: the kernel does not say.
    """
    address: DiskAddress | None = None
    """Where the disk is attached. Unset: it is a partition or virtual, or the guest does not know."""
    alias: str | None = None
    """The device mapper's name for it. Unset: it does not belong to the device mapper."""
    smart: DiskSmart | None = None
    """What the disk reports of its own health. Unset: it is not an NVMe disk, or does not report it."""


@dataclass(frozen=True, slots=True)
class DiskStats(Struct):
    """Counters of a disk or partition since the boot.

    Those that the kernel does not have are unset: old kernels have fewer.
    """

    read_sectors: int | None = None
    """Sectors of 512 bytes that were read."""
    read_ios: int | None = None
    """Reads that were completed."""
    read_merges: int | None = None
    """Reads that were merged into others before the disk got them."""
    write_sectors: int | None = None
    """Sectors of 512 bytes that were written."""
    write_ios: int | None = None
    """Writes that were completed."""
    write_merges: int | None = None
    """Writes that were merged into others before the disk got them."""
    discard_sectors: int | None = None
    """Sectors of 512 bytes that were discarded."""
    discard_ios: int | None = None
    """Discards that were completed."""
    discard_merges: int | None = None
    """Discards that were merged into others before the disk got them."""
    flush_ios: int | None = None
    """Flushes of the disk's cache that were completed."""
    read_ticks: int | None = None
    """Milliseconds that reads took, added up."""
    write_ticks: int | None = None
    """Milliseconds that writes took, added up."""
    discard_ticks: int | None = None
    """Milliseconds that discards took, added up."""
    flush_ticks: int | None = None
    """Milliseconds that flushes took, added up."""
    ios_pgr: int | None = None
    """Requests that are under way now."""
    total_ticks: int | None = None
    """Milliseconds in which any request was under way."""
    weight_ticks: int | None = None
    """Milliseconds in which requests were under way, each request counted."""


@dataclass(frozen=True, slots=True)
class DiskStatsInfo(Struct):
    """A disk or a partition, with its counters."""

    name: str
    """The kernel's name of the disk or partition, such as vda1, without /dev."""
    major: int
    """Major number of the device."""
    minor: int
    """Minor number of the device."""
    stats: DiskStats
    """What was counted since the boot."""


@dataclass(frozen=True, slots=True)
class Exec(Struct):
    """A program that was started."""

    pid: int
    """Process id of the program, for guest-exec-status."""


@dataclass(frozen=True, slots=True)
class ExecStatus(Struct):
    """What has become of a program."""

    exited: bool
    """Whether the program has ended and its captured output is complete; if not, no other member is set."""
    exitcode: int | None = None
    """Exit status of the program. Unset: it runs, or a signal ended it."""
    signal: int | None = None
    """Number of the signal that ended the program. Unset: it runs, or it exited."""
    out_data: str | None = None
    """Captured standard output, in base64. Unset: there is none."""
    err_data: str | None = None
    """Captured standard error, in base64. Unset: there is none."""
    out_truncated: bool | None = None
    """Whether out-data is only the beginning: no more than 16 MiB are kept. Unset: there is no out-data."""
    err_truncated: bool | None = None
    """Whether err-data is only the beginning: no more than 16 MiB are kept. Unset: there is no err-data."""


@dataclass(frozen=True, slots=True)
class FileRead(Struct):
    """What was read from a file."""

    count: int
    """How many bytes were read."""
    buf_b64: str
    """The bytes that were read, in base64."""
    eof: bool
    """Whether the end of the file was reached."""


@dataclass(frozen=True, slots=True)
class FileWrite(Struct):
    """What was written to a file."""

    count: int
    """How many bytes were written."""
    eof: bool
    """Always false."""


@dataclass(frozen=True, slots=True)
class FileSeek(Struct):
    """The new position of a handle."""

    position: int
    """Where the handle is now, in bytes from the start of the file."""
    eof: bool
    """Always false."""


@dataclass(frozen=True, slots=True)
class FilesystemInfo(Struct):
    """A mounted filesystem on a block device."""

    name: str
    """The kernel's name of the device, such as vda1 or dm-0; its MAJOR:MINOR where sysfs does not have it."""
    mountpoint: str
    """Path that the filesystem is mounted at."""
    type: str
    """Type of the filesystem, such as ext4."""
    disk: list[DiskAddress]
    """Where the disks below it are attached; empty if no hardware is known."""
    used_bytes: int | None = None
    """Bytes in use. Unset: statvfs(3) failed."""
    total_bytes: int | None = None
    """Bytes in use and those that ordinary users may still fill. Unset: statvfs(3) failed."""
    total_bytes_privileged: int | None = None
    """Bytes of the whole filesystem, those reserved for root included. Unset: statvfs(3) failed."""


@dataclass(frozen=True, slots=True)
class FilesystemTrimResult(Struct):
    """What was trimmed of a filesystem."""

    path: str
    """Path that the filesystem is mounted at."""
    trimmed: int | None = None
    """Bytes that were trimmed. Unset: nothing was, see error."""
    minimum: int | None = None
    """Bytes of the smallest extent that the filesystem trims; may be more than requested.

    Unset: nothing was trimmed.
    """
    error: str | None = None
    """Why nothing was trimmed. Unset: there was no error."""


@dataclass(frozen=True, slots=True)
class FilesystemTrimResponse(Struct):
    """What was trimmed of the filesystems that lie on block devices."""

    paths: list[FilesystemTrimResult]
    """One result for each filesystem, last mounted first."""


@dataclass(frozen=True, slots=True)
class MemoryBlock(Struct):
    """A block of memory that can be taken online or offline as one."""

    phys_index: int
    """Number of the memory block, as in /sys/devices/system/memory/memoryN."""
    online: bool
    """Whether the guest uses the memory block."""
    can_offline: bool | None = None
    """Whether the memory block can be taken offline. Always set in a reply; ignored in a request."""


@dataclass(frozen=True, slots=True)
class MemoryBlockResponse(Struct):
    """What became of a memory block that was to be changed."""

    phys_index: int
    """Number of the memory block, as in the request."""
    response: MemoryBlockResponseType
    """What became of the memory block."""
    error_code: int | None = None
    """The kernel's errno(3). Unset: there was no error."""


@dataclass(frozen=True, slots=True)
class MemoryBlockInfo(Struct):
    """What all memory blocks have in common."""

    size: int
    """Bytes of each memory block."""


@dataclass(frozen=True, slots=True)
class IpAddress(Struct):
    """An address of a network interface."""

    ip_address: str
    """The address as text, without its network."""
    ip_address_type: IpAddressType
    """Which version of IP the address is of."""
    prefix: int
    """Bits of the address that name the network: 24 for a netmask of 255.255.255.0."""


@dataclass(frozen=True, slots=True)
class NetworkInterfaceStat(Struct):
    """Counters of a network interface since it was made."""

    rx_bytes: int
    """Bytes that were received."""
    rx_packets: int
    """Packets that were received."""
    rx_errs: int
    """Packets that arrived damaged."""
    rx_dropped: int
    """Received packets that were dropped."""
    tx_bytes: int
    """Bytes that were sent."""
    tx_packets: int
    """Packets that were sent."""
    tx_errs: int
    """Packets that could not be sent."""
    tx_dropped: int
    """Packets to be sent that were dropped."""


@dataclass(frozen=True, slots=True)
class NetworkInterface(Struct):
    """A network interface."""

    name: str
    """The kernel's name of the interface, such as eth0."""
    hardware_address: str | None = None
    """MAC address, such as 52:54:00:12:34:56. Unset: the interface has none."""
    ip_addresses: list[IpAddress] | None = None
    """IP addresses of the interface. Unset: it has none."""
    statistics: NetworkInterfaceStat | None = None
    """What was counted since the interface was made. Unset: it has no IP address."""


@dataclass(frozen=True, slots=True)
class NetworkRoute(Struct):
    """A line of the routing table.

    What an IPv4 route has and an IPv6 route has not is unset there, and the other way round.
    """

    iface: str
    """Name of the interface that packets leave by."""
    destination: str
    """Address of the network that the route leads to."""
    metric: int
    """Cost of the route: of several to one network, the lowest is taken."""
    version: int
    """Version of IP: 4 or 6."""
    gateway: str | None = None
    """Address of the next router, 0.0.0.0 for none. Unset: an IPv6 route."""
    mask: str | None = None
    """Netmask of the destination, such as 255.255.255.0. Unset: an IPv6 route."""
    irtt: int | None = None
    """Round trip time that TCP assumes at first, in milliseconds; 0 for the kernel's default. Unset: an IPv6 route.
    """
    flags: int | None = None
    """Flags of the route: RTF_* of linux/route.h."""
    refcnt: int | None = None
    """Users of the route; current kernels report 0 for IPv4."""
    use: int | None = None
    """Lookups of the route; current kernels report 0."""
    window: int | None = None
    """Largest window of TCP, in bytes; 0 for the kernel's default. Unset: an IPv6 route."""
    mtu: int | None = None
    """Largest packet, in bytes; 0 for that of the interface. Unset: an IPv6 route."""
    desprefixlen: str | None = None
    """Bits of destination that name the network, in decimal. Unset: an IPv4 route."""
    source: str | None = None
    """Address of the network that packets must come from, :: for any. Unset: an IPv4 route."""
    srcprefixlen: str | None = None
    """Bits of source that name the network, in decimal. Unset: an IPv4 route."""
    nexthop: str | None = None
    """Address of the next router, :: for none. Unset: an IPv4 route."""


@dataclass(frozen=True, slots=True)
class AgentCommandInfo(Struct):
    """A command that the agent has."""

    name: str
    """Name of the command."""
    enabled: bool
    """Whether the command may run now, by configuration and freeze state."""
    success_response: bool
    """Whether the agent answers when the command succeeds, and not only when it fails."""


@dataclass(frozen=True, slots=True)
class AgentInfo(Struct):
    """What the agent is, and what it can do."""

    version: str
    """QEMU release whose guest agent interface is implemented: three numbers below 256."""
    supported_commands: list[AgentCommandInfo]
    """Every command that the agent has, also those that may not run."""


@dataclass(frozen=True, slots=True)
class HostName(Struct):
    """The name of the guest."""

    host_name: str
    """The guest's own name; with a domain only if the name itself has one."""


@dataclass(frozen=True, slots=True)
class User(Struct):
    """A user who is logged in."""

    user: str
    """Login name of the user."""
    login_time: float
    """Seconds since 1970 in UTC, of the earliest login that lasts."""
    domain: str | None = None
    """The user's domain. Unset: not a Windows guest."""


@dataclass(frozen=True, slots=True)
class Timezone(Struct):
    """The guest's time zone."""

    offset: int
    """Seconds east of UTC, daylight saving time included."""
    zone: str | None = None
    """Abbreviation of the zone, such as CEST, that is valid now. Unset: it has none."""


@dataclass(frozen=True, slots=True)
class OSInfo(Struct):
    """The operating system of the guest."""

    kernel_release: str | None = None
    """Release of the kernel, such as 6.1.0-18-amd64: uname(2)."""
    kernel_version: str | None = None
    """Version of the kernel, with the time of its build: uname(2)."""
    machine: str | None = None
    """Architecture of the machine, such as x86_64: uname(2)."""
    id: str | None = None
    """ID of os-release(5), such as debian. Unset: the file does not have it."""
    name: str | None = None
    """NAME of os-release(5), such as Debian GNU/Linux. Unset: the file does not have it."""
    pretty_name: str | None = None
    """PRETTY_NAME of os-release(5), name and version for people. Unset: the file does not have it."""
    version: str | None = None
    """VERSION of os-release(5), such as 12 (bookworm). Unset: the file does not have it."""
    version_id: str | None = None
    """VERSION_ID of os-release(5), such as 12. Unset: the file does not have it."""
    variant: str | None = None
    """VARIANT of os-release(5), such as Server Edition. Unset: the file does not have it."""
    variant_id: str | None = None
    """VARIANT_ID of os-release(5), such as server. Unset: the file does not have it."""
