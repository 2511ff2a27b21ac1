"""What commands return: members that a newer agent adds are ignored, optional ones that are missing are None.

Generated from schema/ by tests/client_source.py: change that, not this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """The public keys that open a user's account."""

    keys: list[str]
    """Public keys, one line of the file each, in its order; without comments and blank lines."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            keys=value["keys"],
        )


@dataclass(frozen=True, slots=True)
class LogicalProcessor:
    """A processor as the guest's kernel sees it."""

    logical_id: int
    """Number of the processor, as in /sys/devices/system/cpu/cpuN."""
    online: bool
    """Whether the guest uses the processor."""
    can_offline: bool | None = None
    """Whether the processor can be taken offline. Always set in a reply; ignored in a request."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            logical_id=value["logical-id"],
            online=value["online"],
            can_offline=value.get("can-offline"),
        )

    def write(self) -> dict[str, Any]:
        """As an argument of a command."""
        members: dict[str, Any] = {
            "logical-id": self.logical_id,
            "online": self.online,
            "can-offline": self.can_offline,
        }
        return {name: member for name, member in members.items() if member is not None}


@dataclass(frozen=True, slots=True)
class CpuStats:
    """How long a processor has been in which state; which states there are depends on the operating system."""

    type: str
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

    @classmethod
    def read(cls, value: Any) -> Self | None:
        """None for a type that is not known."""
        if value["type"] != "linux":
            return None
        return cls(
            type=value["type"],
            cpu=value["cpu"],
            user=value["user"],
            nice=value["nice"],
            system=value["system"],
            idle=value["idle"],
            iowait=value.get("iowait"),
            irq=value.get("irq"),
            softirq=value.get("softirq"),
            steal=value.get("steal"),
            guest=value.get("guest"),
            guestnice=value.get("guestnice"),
        )


@dataclass(frozen=True, slots=True)
class LoadAverage:
    """Load averages, as of getloadavg(3)."""

    load1m: float
    """Processes that ran, could run or waited for a disk, on average over the last minute."""
    load5m: float
    """The same over the last 5 minutes."""
    load15m: float
    """The same over the last 15 minutes."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            load1m=value["load1m"],
            load5m=value["load5m"],
            load15m=value["load15m"],
        )


@dataclass(frozen=True, slots=True)
class PCIAddress:
    """Where a disk's controller is on PCI."""

    domain: int
    """PCI domain, -1 if the controller is not on PCI."""
    bus: int
    """PCI bus in the domain, -1 if the controller is not on PCI."""
    slot: int
    """PCI device on the bus, -1 if the controller is not on PCI."""
    function: int
    """PCI function of the device, -1 if the controller is not on PCI."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            domain=value["domain"],
            bus=value["bus"],
            slot=value["slot"],
            function=value["function"],
        )


@dataclass(frozen=True, slots=True)
class CCWAddress:
    """Where a disk is attached to a channel of s390."""

    cssid: int
    """Number of the channel subsystem."""
    ssid: int
    """Number of the subchannel set."""
    subchno: int
    """Number of the subchannel."""
    devno: int
    """Number of the device."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            cssid=value["cssid"],
            ssid=value["ssid"],
            subchno=value["subchno"],
            devno=value["devno"],
        )


@dataclass(frozen=True, slots=True)
class DiskAddress:
    """Where a disk is attached."""

    pci_controller: PCIAddress
    """Where the disk's controller is on PCI."""
    bus_type: str
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

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            pci_controller=PCIAddress.read(value["pci-controller"]),
            bus_type=value["bus-type"],
            bus=value["bus"],
            target=value["target"],
            unit=value["unit"],
            serial=value.get("serial"),
            dev=value.get("dev"),
            ccw_address=None if value.get("ccw-address") is None else CCWAddress.read(value["ccw-address"]),
        )


@dataclass(frozen=True, slots=True)
class DiskSmart:
    """What a disk reports of its own health."""

    type: str
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

    @classmethod
    def read(cls, value: Any) -> Self | None:
        """None for a type that is not known."""
        if value["type"] != "nvme":
            return None
        return cls(
            type=value["type"],
            critical_warning=value["critical-warning"],
            temperature=value["temperature"],
            available_spare=value["available-spare"],
            available_spare_threshold=value["available-spare-threshold"],
            percentage_used=value["percentage-used"],
            data_units_read_lo=value["data-units-read-lo"],
            data_units_read_hi=value["data-units-read-hi"],
            data_units_written_lo=value["data-units-written-lo"],
            data_units_written_hi=value["data-units-written-hi"],
            host_read_commands_lo=value["host-read-commands-lo"],
            host_read_commands_hi=value["host-read-commands-hi"],
            host_write_commands_lo=value["host-write-commands-lo"],
            host_write_commands_hi=value["host-write-commands-hi"],
            controller_busy_time_lo=value["controller-busy-time-lo"],
            controller_busy_time_hi=value["controller-busy-time-hi"],
            power_cycles_lo=value["power-cycles-lo"],
            power_cycles_hi=value["power-cycles-hi"],
            power_on_hours_lo=value["power-on-hours-lo"],
            power_on_hours_hi=value["power-on-hours-hi"],
            unsafe_shutdowns_lo=value["unsafe-shutdowns-lo"],
            unsafe_shutdowns_hi=value["unsafe-shutdowns-hi"],
            media_errors_lo=value["media-errors-lo"],
            media_errors_hi=value["media-errors-hi"],
            number_of_error_log_entries_lo=value["number-of-error-log-entries-lo"],
            number_of_error_log_entries_hi=value["number-of-error-log-entries-hi"],
        )


@dataclass(frozen=True, slots=True)
class DiskInfo:
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
    """The device mapper's name for it. Unset: it is none of the device mapper's."""
    smart: DiskSmart | None = None
    """What the disk reports of its own health. Unset: it is not an NVMe disk, or cannot be asked."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            name=value["name"],
            partition=value["partition"],
            dependencies=value.get("dependencies"),
            address=None if value.get("address") is None else DiskAddress.read(value["address"]),
            alias=value.get("alias"),
            smart=None if value.get("smart") is None else DiskSmart.read(value["smart"]),
        )


@dataclass(frozen=True, slots=True)
class DiskStats:
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

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            read_sectors=value.get("read-sectors"),
            read_ios=value.get("read-ios"),
            read_merges=value.get("read-merges"),
            write_sectors=value.get("write-sectors"),
            write_ios=value.get("write-ios"),
            write_merges=value.get("write-merges"),
            discard_sectors=value.get("discard-sectors"),
            discard_ios=value.get("discard-ios"),
            discard_merges=value.get("discard-merges"),
            flush_ios=value.get("flush-ios"),
            read_ticks=value.get("read-ticks"),
            write_ticks=value.get("write-ticks"),
            discard_ticks=value.get("discard-ticks"),
            flush_ticks=value.get("flush-ticks"),
            ios_pgr=value.get("ios-pgr"),
            total_ticks=value.get("total-ticks"),
            weight_ticks=value.get("weight-ticks"),
        )


@dataclass(frozen=True, slots=True)
class DiskStatsInfo:
    """A disk or a partition, with its counters."""

    name: str
    """The kernel's name of the disk or partition, such as vda1, without /dev."""
    major: int
    """Major number of the device."""
    minor: int
    """Minor number of the device."""
    stats: DiskStats
    """What was counted since the boot."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            name=value["name"],
            major=value["major"],
            minor=value["minor"],
            stats=DiskStats.read(value["stats"]),
        )


@dataclass(frozen=True, slots=True)
class Exec:
    """A program that was started."""

    pid: int
    """Process id of the program, for guest-exec-status."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            pid=value["pid"],
        )


@dataclass(frozen=True, slots=True)
class ExecStatus:
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

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            exited=value["exited"],
            exitcode=value.get("exitcode"),
            signal=value.get("signal"),
            out_data=value.get("out-data"),
            err_data=value.get("err-data"),
            out_truncated=value.get("out-truncated"),
            err_truncated=value.get("err-truncated"),
        )


@dataclass(frozen=True, slots=True)
class FileRead:
    """What was read from a file."""

    count: int
    """How many bytes were read."""
    buf_b64: str
    """The bytes that were read, in base64."""
    eof: bool
    """Whether the end of the file was reached."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            count=value["count"],
            buf_b64=value["buf-b64"],
            eof=value["eof"],
        )


@dataclass(frozen=True, slots=True)
class FileWrite:
    """What was written to a file."""

    count: int
    """How many bytes were written."""
    eof: bool
    """Always false."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            count=value["count"],
            eof=value["eof"],
        )


@dataclass(frozen=True, slots=True)
class FileSeek:
    """The new position of a handle."""

    position: int
    """Where the handle is now, in bytes from the start of the file."""
    eof: bool
    """Always false."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            position=value["position"],
            eof=value["eof"],
        )


@dataclass(frozen=True, slots=True)
class FilesystemInfo:
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
    """Bytes in use. Unset: the filesystem cannot be asked."""
    total_bytes: int | None = None
    """Bytes in use and those that ordinary users may still fill. Unset: the filesystem cannot be asked."""
    total_bytes_privileged: int | None = None
    """Bytes of the whole filesystem, those reserved for root included. Unset: the filesystem cannot be asked."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            name=value["name"],
            mountpoint=value["mountpoint"],
            type=value["type"],
            disk=[DiskAddress.read(item) for item in value["disk"]],
            used_bytes=value.get("used-bytes"),
            total_bytes=value.get("total-bytes"),
            total_bytes_privileged=value.get("total-bytes-privileged"),
        )


@dataclass(frozen=True, slots=True)
class FilesystemTrimResult:
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

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            path=value["path"],
            trimmed=value.get("trimmed"),
            minimum=value.get("minimum"),
            error=value.get("error"),
        )


@dataclass(frozen=True, slots=True)
class FilesystemTrimResponse:
    """What was trimmed of the filesystems that lie on block devices."""

    paths: list[FilesystemTrimResult]
    """One result for each filesystem, last mounted first."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            paths=[FilesystemTrimResult.read(item) for item in value["paths"]],
        )


@dataclass(frozen=True, slots=True)
class MemoryBlock:
    """A block of memory that can be taken online or offline as one."""

    phys_index: int
    """Number of the memory block, as in /sys/devices/system/memory/memoryN."""
    online: bool
    """Whether the guest uses the memory block."""
    can_offline: bool | None = None
    """Whether the memory block can be taken offline. Always set in a reply; ignored in a request."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            phys_index=value["phys-index"],
            online=value["online"],
            can_offline=value.get("can-offline"),
        )

    def write(self) -> dict[str, Any]:
        """As an argument of a command."""
        members: dict[str, Any] = {
            "phys-index": self.phys_index,
            "online": self.online,
            "can-offline": self.can_offline,
        }
        return {name: member for name, member in members.items() if member is not None}


@dataclass(frozen=True, slots=True)
class MemoryBlockResponse:
    """What became of a memory block that was to be changed."""

    phys_index: int
    """Number of the memory block, as in the request."""
    response: str
    """What became of the memory block."""
    error_code: int | None = None
    """The kernel's errno(3). Unset: there was no error."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            phys_index=value["phys-index"],
            response=value["response"],
            error_code=value.get("error-code"),
        )


@dataclass(frozen=True, slots=True)
class MemoryBlockInfo:
    """What all memory blocks have in common."""

    size: int
    """Bytes of each memory block."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            size=value["size"],
        )


@dataclass(frozen=True, slots=True)
class IpAddress:
    """An address of a network interface."""

    ip_address: str
    """The address as text, without its network."""
    ip_address_type: str
    """Which version of IP the address is of."""
    prefix: int
    """Bits of the address that name the network: 24 for a netmask of 255.255.255.0."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            ip_address=value["ip-address"],
            ip_address_type=value["ip-address-type"],
            prefix=value["prefix"],
        )


@dataclass(frozen=True, slots=True)
class NetworkInterfaceStat:
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

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            rx_bytes=value["rx-bytes"],
            rx_packets=value["rx-packets"],
            rx_errs=value["rx-errs"],
            rx_dropped=value["rx-dropped"],
            tx_bytes=value["tx-bytes"],
            tx_packets=value["tx-packets"],
            tx_errs=value["tx-errs"],
            tx_dropped=value["tx-dropped"],
        )


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """A network interface."""

    name: str
    """The kernel's name of the interface, such as eth0."""
    hardware_address: str | None = None
    """MAC address, such as 52:54:00:12:34:56. Unset: the interface has none."""
    ip_addresses: list[IpAddress] | None = None
    """IP addresses of the interface. Unset: it has none."""
    statistics: NetworkInterfaceStat | None = None
    """What was counted since the interface was made. Unset: it has no IP address."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            name=value["name"],
            hardware_address=value.get("hardware-address"),
            ip_addresses=None
            if value.get("ip-addresses") is None
            else [IpAddress.read(item) for item in value["ip-addresses"]],
            statistics=None if value.get("statistics") is None else NetworkInterfaceStat.read(value["statistics"]),
        )


@dataclass(frozen=True, slots=True)
class NetworkRoute:
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
    """Users of the route; the kernel no longer counts them for IPv4."""
    use: int | None = None
    """Lookups of the route; the kernel no longer counts them for IPv4."""
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

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            iface=value["iface"],
            destination=value["destination"],
            metric=value["metric"],
            version=value["version"],
            gateway=value.get("gateway"),
            mask=value.get("mask"),
            irtt=value.get("irtt"),
            flags=value.get("flags"),
            refcnt=value.get("refcnt"),
            use=value.get("use"),
            window=value.get("window"),
            mtu=value.get("mtu"),
            desprefixlen=value.get("desprefixlen"),
            source=value.get("source"),
            srcprefixlen=value.get("srcprefixlen"),
            nexthop=value.get("nexthop"),
        )


@dataclass(frozen=True, slots=True)
class AgentCommandInfo:
    """A command that the agent has."""

    name: str
    """Name of the command."""
    enabled: bool
    """Whether the command may run now, by configuration and freeze state."""
    success_response: bool
    """Whether the agent answers when the command succeeds, and not only when it fails."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            name=value["name"],
            enabled=value["enabled"],
            success_response=value["success-response"],
        )


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What the agent is, and what it can do."""

    version: str
    """QEMU release whose guest agent interface is implemented: three numbers below 256."""
    supported_commands: list[AgentCommandInfo]
    """Every command that the agent has, also those that may not run."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            version=value["version"],
            supported_commands=[AgentCommandInfo.read(item) for item in value["supported_commands"]],
        )


@dataclass(frozen=True, slots=True)
class HostName:
    """The name of the guest."""

    host_name: str
    """The guest's own name; with a domain only if the name itself has one."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            host_name=value["host-name"],
        )


@dataclass(frozen=True, slots=True)
class User:
    """A user who is logged in."""

    user: str
    """Login name of the user."""
    login_time: float
    """Seconds since 1970 in UTC, of the earliest login that lasts."""
    domain: str | None = None
    """The user's domain. Unset: not a Windows guest."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            user=value["user"],
            login_time=value["login-time"],
            domain=value.get("domain"),
        )


@dataclass(frozen=True, slots=True)
class Timezone:
    """The guest's time zone."""

    offset: int
    """Seconds east of UTC, daylight saving time included."""
    zone: str | None = None
    """Abbreviation of the zone, such as CEST, that is valid now. Unset: it has none."""

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            offset=value["offset"],
            zone=value.get("zone"),
        )


@dataclass(frozen=True, slots=True)
class OSInfo:
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

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            kernel_release=value.get("kernel-release"),
            kernel_version=value.get("kernel-version"),
            machine=value.get("machine"),
            id=value.get("id"),
            name=value.get("name"),
            pretty_name=value.get("pretty-name"),
            version=value.get("version"),
            version_id=value.get("version-id"),
            variant=value.get("variant"),
            variant_id=value.get("variant-id"),
        )
