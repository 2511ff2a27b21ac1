"""What commands return: members that a newer agent adds are ignored, optional ones that are missing are None.

Generated from schema/ by tests/client_source.py: change that, not this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """One line of the file each, with neither comments nor blank lines."""

    keys: list[str]

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            keys=value["keys"],
        )


@dataclass(frozen=True, slots=True)
class LogicalProcessor:
    """can-offline is always there in what the agent returns."""

    logical_id: int
    online: bool
    can_offline: bool | None = None

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
    """What is counted depends on the operating system."""

    type: str
    cpu: int
    user: int
    nice: int
    system: int
    idle: int
    iowait: int | None = None
    irq: int | None = None
    softirq: int | None = None
    steal: int | None = None
    guest: int | None = None
    guestnice: int | None = None

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
    """As getloadavg(3) has them."""

    load1m: float
    load5m: float
    load15m: float

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            load1m=value["load1m"],
            load5m=value["load5m"],
            load15m=value["load15m"],
        )


@dataclass(frozen=True, slots=True)
class PCIAddress:
    """Where the disk's controller is; each -1 if it is not on PCI."""

    domain: int
    bus: int
    slot: int
    function: int

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
    """Channel subsystem, its set, subchannel and device, on s390."""

    cssid: int
    ssid: int
    subchno: int
    devno: int

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
    """bus, target, unit: as the controller numbers them, 0 where it does not.

    serial: as udev has it. dev: the file in /dev.
    """

    pci_controller: PCIAddress
    bus_type: str
    bus: int
    target: int
    unit: int
    serial: str | None = None
    dev: str | None = None
    ccw_address: CCWAddress | None = None

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
    """What the disk says of its own health."""

    type: str
    critical_warning: int
    temperature: int
    available_spare: int
    available_spare_threshold: int
    percentage_used: int
    data_units_read_lo: int
    data_units_read_hi: int
    data_units_written_lo: int
    data_units_written_hi: int
    host_read_commands_lo: int
    host_read_commands_hi: int
    host_write_commands_lo: int
    host_write_commands_hi: int
    controller_busy_time_lo: int
    controller_busy_time_hi: int
    power_cycles_lo: int
    power_cycles_hi: int
    power_on_hours_lo: int
    power_on_hours_hi: int
    unsafe_shutdowns_lo: int
    unsafe_shutdowns_hi: int
    media_errors_lo: int
    media_errors_hi: int
    number_of_error_log_entries_lo: int
    number_of_error_log_entries_hi: int

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
    """name: the file in /dev. dependencies: those that it lies on. alias: the device mapper's name for it."""

    name: str
    partition: bool
    dependencies: list[str] | None = None
    address: DiskAddress | None = None
    alias: str | None = None
    smart: DiskSmart | None = None

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
    """Sectors of 512 bytes, ticks of a millisecond; ios-pgr are in flight. Old kernels tell fewer."""

    read_sectors: int | None = None
    read_ios: int | None = None
    read_merges: int | None = None
    write_sectors: int | None = None
    write_ios: int | None = None
    write_merges: int | None = None
    discard_sectors: int | None = None
    discard_ios: int | None = None
    discard_merges: int | None = None
    flush_ios: int | None = None
    read_ticks: int | None = None
    write_ticks: int | None = None
    discard_ticks: int | None = None
    flush_ticks: int | None = None
    ios_pgr: int | None = None
    total_ticks: int | None = None
    weight_ticks: int | None = None

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
    """name: the kernel's, without /dev."""

    name: str
    major: int
    minor: int
    stats: DiskStats

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
    """pid: by which guest-exec-status knows the program."""

    pid: int

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            pid=value["pid"],
        )


@dataclass(frozen=True, slots=True)
class ExecStatus:
    """exitcode or signal: how it ended.

    out-data, err-data: what it wrote, in base64, if anything. out-truncated, err-truncated: whether that is only
    its first 16 MiB.
    """

    exited: bool
    exitcode: int | None = None
    signal: int | None = None
    out_data: str | None = None
    err_data: str | None = None
    out_truncated: bool | None = None
    err_truncated: bool | None = None

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
    """count is the number of bytes that buf-b64 holds; eof says that the end of the file was met."""

    count: int
    buf_b64: str
    eof: bool

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            count=value["count"],
            buf_b64=value["buf-b64"],
            eof=value["eof"],
        )


@dataclass(frozen=True, slots=True)
class FileWrite:
    """count is the number of bytes that were written; eof is always false."""

    count: int
    eof: bool

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            count=value["count"],
            eof=value["eof"],
        )


@dataclass(frozen=True, slots=True)
class FileSeek:
    """position is counted from the start of the file; eof is always false."""

    position: int
    eof: bool

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            position=value["position"],
            eof=value["eof"],
        )


@dataclass(frozen=True, slots=True)
class FilesystemInfo:
    """name: the kernel's name of the device.

    total-bytes: what ordinary users can fill. disk: those with hardware behind them.
    """

    name: str
    mountpoint: str
    type: str
    disk: list[DiskAddress]
    used_bytes: int | None = None
    total_bytes: int | None = None
    total_bytes_privileged: int | None = None

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
    """path: the mount point.

    trimmed: bytes told of. minimum: bytes of the least extent, as the guest took it. error: why nothing was
    trimmed.
    """

    path: str
    trimmed: int | None = None
    minimum: int | None = None
    error: str | None = None

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
    """One result for each filesystem on a block device."""

    paths: list[FilesystemTrimResult]

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            paths=[FilesystemTrimResult.read(item) for item in value["paths"]],
        )


@dataclass(frozen=True, slots=True)
class MemoryBlock:
    """can-offline is always there in what the agent returns."""

    phys_index: int
    online: bool
    can_offline: bool | None = None

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
    """error-code is the errno of what failed."""

    phys_index: int
    response: str
    error_code: int | None = None

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            phys_index=value["phys-index"],
            response=value["response"],
            error_code=value.get("error-code"),
        )


@dataclass(frozen=True, slots=True)
class MemoryBlockInfo:
    """size is in bytes."""

    size: int

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            size=value["size"],
        )


@dataclass(frozen=True, slots=True)
class IpAddress:
    """prefix: bits of the address that name the network."""

    ip_address: str
    ip_address_type: str
    prefix: int

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            ip_address=value["ip-address"],
            ip_address_type=value["ip-address-type"],
            prefix=value["prefix"],
        )


@dataclass(frozen=True, slots=True)
class NetworkInterfaceStat:
    """Received (rx) and transmitted (tx) since the interface was made."""

    rx_bytes: int
    rx_packets: int
    rx_errs: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errs: int
    tx_dropped: int

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
    """hardware-address: the first six bytes, in hexadecimal.

    ip-addresses and statistics are there only if there is an address.
    """

    name: str
    hardware_address: str | None = None
    ip_addresses: list[IpAddress] | None = None
    statistics: NetworkInterfaceStat | None = None

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
    """flags: RTF_* of linux/route.h.

    version: 4 or 6; of IPv4 are gateway, mask, irtt, window and mtu, of IPv6 are desprefixlen, source, srcprefixlen
    and nexthop, the lengths in decimal.
    """

    iface: str
    destination: str
    metric: int
    version: int
    gateway: str | None = None
    mask: str | None = None
    irtt: int | None = None
    flags: int | None = None
    refcnt: int | None = None
    use: int | None = None
    window: int | None = None
    mtu: int | None = None
    desprefixlen: str | None = None
    source: str | None = None
    srcprefixlen: str | None = None
    nexthop: str | None = None

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
    """enabled: may run now, by configuration and freeze state. success-response: answers when it succeeds."""

    name: str
    enabled: bool
    success_response: bool

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            name=value["name"],
            enabled=value["enabled"],
            success_response=value["success-response"],
        )


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """version is the QEMU release whose guest agent interface is implemented: three numbers below 256."""

    version: str
    supported_commands: list[AgentCommandInfo]

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            version=value["version"],
            supported_commands=[AgentCommandInfo.read(item) for item in value["supported_commands"]],
        )


@dataclass(frozen=True, slots=True)
class HostName:
    """host-name: with a domain only if the guest's own name has one."""

    host_name: str

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            host_name=value["host-name"],
        )


@dataclass(frozen=True, slots=True)
class User:
    """login-time: seconds since 1970, of the earliest login that lasts. domain: of Windows guests only."""

    user: str
    login_time: float
    domain: str | None = None

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            user=value["user"],
            login_time=value["login-time"],
            domain=value.get("domain"),
        )


@dataclass(frozen=True, slots=True)
class Timezone:
    """zone: its abbreviation. offset: seconds east of UTC, summer time included."""

    offset: int
    zone: str | None = None

    @classmethod
    def read(cls, value: Any) -> Self:
        return cls(
            offset=value["offset"],
            zone=value.get("zone"),
        )


@dataclass(frozen=True, slots=True)
class OSInfo:
    """The first three are of uname(2), the others of os-release(5)."""

    kernel_release: str | None = None
    kernel_version: str | None = None
    machine: str | None = None
    id: str | None = None
    name: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    version_id: str | None = None
    variant: str | None = None
    variant_id: str | None = None

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
