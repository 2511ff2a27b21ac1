"""A typed method for every command of the schema, blocking and for asyncio.

Generated from schema/ by tests/client_source.py: change that, not this.
"""

# ruff: noqa: A002
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qga.client.replies import (
        AgentInfo,
        AuthorizedKeys,
        CpuStats,
        DiskInfo,
        DiskStatsInfo,
        Exec,
        ExecStatus,
        FileRead,
        FileSeek,
        FilesystemInfo,
        FilesystemTrimResponse,
        FileWrite,
        HostName,
        LoadAverage,
        LogicalProcessor,
        MemoryBlock,
        MemoryBlockInfo,
        MemoryBlockResponse,
        NetworkInterface,
        NetworkRoute,
        OSInfo,
        Timezone,
        User,
    )

# Commands that answer only when they fail.
SILENT = frozenset({"guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"})


class Commands:
    """``timeout``: seconds; by default the client's, or what suits the command."""

    def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        raise NotImplementedError

    def guest_set_user_password(
        self, username: str, password: str, crypted: bool, *, timeout: float | None = None
    ) -> None:
        """Set a user's password by chpasswd(8).

        password is in base64, and with crypted already hashed as crypt(5) has it. (Since 2.3.)
        """
        self._ask(
            "guest-set-user-password", {"username": username, "password": password, "crypted": crypted}, timeout
        )

    def guest_ssh_get_authorized_keys(self, username: str, *, timeout: float | None = None) -> AuthorizedKeys:
        """The public keys in a user's .ssh/authorized_keys, in the order of the file. (Since 5.2.)"""
        value = self._ask("guest-ssh-get-authorized-keys", {"username": username}, timeout)
        from qga.client.replies import AuthorizedKeys

        return AuthorizedKeys.read(value)

    def guest_ssh_add_authorized_keys(
        self, username: str, keys: Sequence[str], reset: bool | None = None, *, timeout: float | None = None
    ) -> None:
        """Append public keys to a user's .ssh/authorized_keys, those that it does not have yet.

        With reset, they replace what it has. (Since 5.2.)
        """
        self._ask(
            "guest-ssh-add-authorized-keys", {"username": username, "keys": list(keys), "reset": reset}, timeout
        )

    def guest_ssh_remove_authorized_keys(
        self, username: str, keys: Sequence[str], *, timeout: float | None = None
    ) -> None:
        """Remove public keys from a user's .ssh/authorized_keys.

        It is no error if a key, or the file, is not there. (Since 5.2.)
        """
        self._ask("guest-ssh-remove-authorized-keys", {"username": username, "keys": list(keys)}, timeout)

    def guest_get_vcpus(self, *, timeout: float | None = None) -> list[LogicalProcessor]:
        """List the guest's logical processors, by number. (Since 1.5.)"""
        value = self._ask("guest-get-vcpus", {}, timeout)
        from qga.client.replies import LogicalProcessor

        return [LogicalProcessor.read(item) for item in value]

    def guest_set_vcpus(self, vcpus: Sequence[LogicalProcessor], *, timeout: float | None = None) -> int:
        """Take processors online or offline, in the order given, and stop at the first that fails.

        Returns how many were done; if the first one fails, its error. can-offline is ignored. (Since 1.5.)
        """
        value: int = self._ask("guest-set-vcpus", {"vcpus": [item.write() for item in vcpus]}, timeout)
        return value

    def guest_get_cpustats(self, *, timeout: float | None = None) -> list[CpuStats]:
        """How long each processor that is online has been in which state since the boot, in milliseconds.

        (Since 7.1.)
        """
        value = self._ask("guest-get-cpustats", {}, timeout)
        from qga.client.replies import CpuStats

        return [part for item in value if (part := CpuStats.read(item)) is not None]

    def guest_get_load(self, *, timeout: float | None = None) -> LoadAverage:
        """The load averages of the last 1, 5 and 15 minutes. (Since 10.0.)"""
        value = self._ask("guest-get-load", {}, timeout)
        from qga.client.replies import LoadAverage

        return LoadAverage.read(value)

    def guest_get_disks(self, *, timeout: float | None = None) -> list[DiskInfo]:
        """List the disks and their partitions, each disk before its own, by name. (Since 5.2.)"""
        value = self._ask("guest-get-disks", {}, timeout)
        from qga.client.replies import DiskInfo

        return [DiskInfo.read(item) for item in value]

    def guest_get_diskstats(self, *, timeout: float | None = None) -> list[DiskStatsInfo]:
        """Tell what the disks and partitions have been doing, in the kernel's order: Documentation/admin-
        guide/iostats.rst.

        (Since 7.1.)
        """
        value = self._ask("guest-get-diskstats", {}, timeout)
        from qga.client.replies import DiskStatsInfo

        return [DiskStatsInfo.read(item) for item in value]

    def guest_exec(
        self,
        path: str,
        arg: Sequence[str] | None = None,
        env: Sequence[str] | None = None,
        input_data: str | None = None,
        capture_output: bool | str | None = None,
        *,
        timeout: float | None = None,
    ) -> Exec:
        """Start a program, found through PATH where path has no slash, and do not wait for it.

        arg: its arguments, without its name. env: its whole environment, NAME=VALUE each; by default the agent's.
        input-data: all that it can read, in base64; by default nothing. capture-output: which of its output to
        keep; by default none. (Since 2.5.)
        """
        value = self._ask(
            "guest-exec",
            {
                "path": path,
                "arg": None if arg is None else list(arg),
                "env": None if env is None else list(env),
                "input-data": input_data,
                "capture-output": capture_output,
            },
            timeout,
        )
        from qga.client.replies import Exec

        return Exec.read(value)

    def guest_exec_status(self, pid: int, *, timeout: float | None = None) -> ExecStatus:
        """Say whether a program has ended, and if so, how, and what it wrote.

        That is told once: the agent forgets it then. A program has not ended while a process that it started still
        holds its captured output. (Since 2.5.)
        """
        value = self._ask("guest-exec-status", {"pid": pid}, timeout)
        from qga.client.replies import ExecStatus

        return ExecStatus.read(value)

    def guest_file_open(self, path: str, mode: str | None = None, *, timeout: float | None = None) -> int:
        """Open a file of the guest, in a mode of fopen(3), r by default.

        Returns a handle, which is never given twice, also not after a restart of the agent. (Since 0.15.)
        """
        value: int = self._ask("guest-file-open", {"path": path, "mode": mode}, timeout)
        return value

    def guest_file_close(self, handle: int, *, timeout: float | None = None) -> None:
        """Close a handle. It is gone also where closing it failed. (Since 0.15.)"""
        self._ask("guest-file-close", {"handle": handle}, timeout)

    def guest_file_read(self, handle: int, count: int | None = None, *, timeout: float | None = None) -> FileRead:
        """Read up to count bytes (4096 by default, 48 MiB at most) from where the handle stands. (Since 0.15.)"""
        value = self._ask("guest-file-read", {"handle": handle, "count": count}, timeout)
        from qga.client.replies import FileRead

        return FileRead.read(value)

    def guest_file_write(
        self, handle: int, buf_b64: str, count: int | None = None, *, timeout: float | None = None
    ) -> FileWrite:
        """Write the first count bytes (all by default) of buf-b64 where the handle stands. (Since 0.15.)"""
        value = self._ask("guest-file-write", {"handle": handle, "buf-b64": buf_b64, "count": count}, timeout)
        from qga.client.replies import FileWrite

        return FileWrite.read(value)

    def guest_file_seek(
        self, handle: int, offset: int, whence: int | str, *, timeout: float | None = None
    ) -> FileSeek:
        """Move a handle to offset bytes from the start, from where it stands, or from the end. (Since 0.15.)"""
        value = self._ask("guest-file-seek", {"handle": handle, "offset": offset, "whence": whence}, timeout)
        from qga.client.replies import FileSeek

        return FileSeek.read(value)

    def guest_file_flush(self, handle: int, *, timeout: float | None = None) -> None:
        """Hand what was written to the guest's kernel, which this agent has done already. (Since 0.15.)"""
        self._ask("guest-file-flush", {"handle": handle}, timeout)

    def guest_get_fsinfo(self, *, timeout: float | None = None) -> list[FilesystemInfo]:
        """List the filesystems that lie on block devices, last mounted first, and the disks that they lie on.

        (Since 2.2.)
        """
        value = self._ask("guest-get-fsinfo", {}, timeout)
        from qga.client.replies import FilesystemInfo

        return [FilesystemInfo.read(item) for item in value]

    def guest_fstrim(self, minimum: int | None = None, *, timeout: float | None = None) -> FilesystemTrimResponse:
        """Tell the disks which blocks no filesystem uses.

        minimum: bytes of the least free extent to tell of. (Since 1.2.)
        """
        value = self._ask("guest-fstrim", {"minimum": minimum}, timeout)
        from qga.client.replies import FilesystemTrimResponse

        return FilesystemTrimResponse.read(value)

    def guest_fsfreeze_status(self, *, timeout: float | None = None) -> str:
        """Say whether the agent holds filesystems frozen.

        It does not know of those that somebody else has frozen. (Since 0.15.)
        """
        value: str = self._ask("guest-fsfreeze-status", {}, timeout)
        return value

    def guest_fsfreeze_freeze(self, *, timeout: float | None = None) -> int:
        """Write down and freeze every filesystem that lies on a block device and can be frozen, so that a snapshot
        of the disks is consistent.

        Returns how many were frozen. If one fails, none stays frozen. Until the thaw only a few commands are
        allowed. (Since 0.15.)
        """
        value: int = self._ask("guest-fsfreeze-freeze", {}, timeout)
        return value

    def guest_fsfreeze_freeze_list(
        self, mountpoints: Sequence[str] | None = None, *, timeout: float | None = None
    ) -> int:
        """As guest-fsfreeze-freeze, but only the filesystems of which the mount point is listed.

        Without a list, all. (Since 2.2.)
        """
        value: int = self._ask(
            "guest-fsfreeze-freeze-list", {"mountpoints": None if mountpoints is None else list(mountpoints)}, timeout
        )
        return value

    def guest_fsfreeze_thaw(self, *, timeout: float | None = None) -> int:
        """Thaw every filesystem, whoever has frozen it. Returns how many were thawed. (Since 0.15.)"""
        value: int = self._ask("guest-fsfreeze-thaw", {}, timeout)
        return value

    def guest_get_memory_blocks(self, *, timeout: float | None = None) -> list[MemoryBlock]:
        """List the guest's memory blocks, by number; none where the kernel has no memory hot-plug. (Since 2.3.)"""
        value = self._ask("guest-get-memory-blocks", {}, timeout)
        from qga.client.replies import MemoryBlock

        return [MemoryBlock.read(item) for item in value]

    def guest_set_memory_blocks(
        self, mem_blks: Sequence[MemoryBlock], *, timeout: float | None = None
    ) -> list[MemoryBlockResponse]:
        """Take memory blocks online or offline, each as far as it goes.

        Returns what became of each, in the order given. (Since 2.3.)
        """
        value = self._ask("guest-set-memory-blocks", {"mem-blks": [item.write() for item in mem_blks]}, timeout)
        from qga.client.replies import MemoryBlockResponse

        return [MemoryBlockResponse.read(item) for item in value]

    def guest_get_memory_block_info(self, *, timeout: float | None = None) -> MemoryBlockInfo:
        """The size of a memory block, in bytes. (Since 2.3.)"""
        value = self._ask("guest-get-memory-block-info", {}, timeout)
        from qga.client.replies import MemoryBlockInfo

        return MemoryBlockInfo.read(value)

    def guest_network_get_interfaces(self, *, timeout: float | None = None) -> list[NetworkInterface]:
        """List the network interfaces, with their addresses and counters, in the kernel's order.

        An IPv4 address with a label of its own is listed under the label. (Since 1.1.)
        """
        value = self._ask("guest-network-get-interfaces", {}, timeout)
        from qga.client.replies import NetworkInterface

        return [NetworkInterface.read(item) for item in value]

    def guest_network_get_route(self, *, timeout: float | None = None) -> list[NetworkRoute]:
        """List the routes, IPv4 first, in the kernel's order. (Since 9.1.)"""
        value = self._ask("guest-network-get-route", {}, timeout)
        from qga.client.replies import NetworkRoute

        return [NetworkRoute.read(item) for item in value]

    def guest_shutdown(self, mode: str | None = None, *, timeout: float | None = None) -> None:
        """Shut the guest down.

        mode is halt, powerdown (the default) or reboot. Answers only when every way to do it failed. (Since 0.15.)
        """
        self._ask("guest-shutdown", {"mode": mode}, timeout)

    def guest_suspend_disk(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to disk (hibernate).

        Answers only when every method failed, with what each of them said. (Since 1.1.)
        """
        self._ask("guest-suspend-disk", {}, timeout)

    def guest_suspend_ram(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to RAM.

        The host wakes it with system_wakeup. Answers only when every method failed, with what each of them said.
        (Since 1.1.)
        """
        self._ask("guest-suspend-ram", {}, timeout)

    def guest_suspend_hybrid(self, *, timeout: float | None = None) -> None:
        """Save the guest to disk, then suspend it to RAM.

        Answers only when every method failed, with what each of them said. (Since 1.1.)
        """
        self._ask("guest-suspend-hybrid", {}, timeout)

    def guest_sync_delimited(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, in a reply that one byte 0xFF precedes: whatever a client received before that byte is stale.

        Send 0xFF before the request to make the agent drop a half request of an earlier client. (Since 1.1.)
        """
        value: int = self._ask("guest-sync-delimited", {"id": id}, timeout)
        return value

    def guest_sync(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, so that a client can tell the replies it waits for from stale ones. (Since 0.15.)"""
        value: int = self._ask("guest-sync", {"id": id}, timeout)
        return value

    def guest_ping(self, *, timeout: float | None = None) -> None:
        """Do nothing, successfully: the agent is there. (Since 0.15.)"""
        self._ask("guest-ping", {}, timeout)

    def guest_info(self, *, timeout: float | None = None) -> AgentInfo:
        """Say which level of the interface the agent implements and which commands it has. (Since 0.15.)"""
        value = self._ask("guest-info", {}, timeout)
        from qga.client.replies import AgentInfo

        return AgentInfo.read(value)

    def guest_get_host_name(self, *, timeout: float | None = None) -> HostName:
        """Tell the name of the guest, as it calls itself. (Since 2.10.)"""
        value = self._ask("guest-get-host-name", {}, timeout)
        from qga.client.replies import HostName

        return HostName.read(value)

    def guest_get_users(self, *, timeout: float | None = None) -> list[User]:
        """List the users who are logged in, each once, in the order in which they logged in as far as it is known.

        (Since 2.10.)
        """
        value = self._ask("guest-get-users", {}, timeout)
        from qga.client.replies import User

        return [User.read(item) for item in value]

    def guest_get_timezone(self, *, timeout: float | None = None) -> Timezone:
        """Tell the guest's time zone. (Since 2.10.)"""
        value = self._ask("guest-get-timezone", {}, timeout)
        from qga.client.replies import Timezone

        return Timezone.read(value)

    def guest_get_osinfo(self, *, timeout: float | None = None) -> OSInfo:
        """Tell which operating system this is: uname(2) and os-release(5). (Since 2.10.)"""
        value = self._ask("guest-get-osinfo", {}, timeout)
        from qga.client.replies import OSInfo

        return OSInfo.read(value)

    def guest_get_time(self, *, timeout: float | None = None) -> int:
        """The guest's clock: nanoseconds since 1970 in UTC, to the microsecond. (Since 1.5.)"""
        value: int = self._ask("guest-get-time", {}, timeout)
        return value

    def guest_set_time(self, time: int | None = None, *, timeout: float | None = None) -> None:
        """Set the guest's clock to a time in nanoseconds since 1970 in UTC, and the hardware clock to it; a
        hardware clock that cannot be set is only logged.

        Without a time, set the guest's clock from the hardware clock. (Since 1.5.)
        """
        self._ask("guest-set-time", {"time": time}, timeout)


class AsyncCommands:
    """``timeout``: seconds; by default the client's, or what suits the command."""

    async def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        raise NotImplementedError

    async def guest_set_user_password(
        self, username: str, password: str, crypted: bool, *, timeout: float | None = None
    ) -> None:
        """Set a user's password by chpasswd(8).

        password is in base64, and with crypted already hashed as crypt(5) has it. (Since 2.3.)
        """
        await self._ask(
            "guest-set-user-password", {"username": username, "password": password, "crypted": crypted}, timeout
        )

    async def guest_ssh_get_authorized_keys(self, username: str, *, timeout: float | None = None) -> AuthorizedKeys:
        """The public keys in a user's .ssh/authorized_keys, in the order of the file. (Since 5.2.)"""
        value = await self._ask("guest-ssh-get-authorized-keys", {"username": username}, timeout)
        from qga.client.replies import AuthorizedKeys

        return AuthorizedKeys.read(value)

    async def guest_ssh_add_authorized_keys(
        self, username: str, keys: Sequence[str], reset: bool | None = None, *, timeout: float | None = None
    ) -> None:
        """Append public keys to a user's .ssh/authorized_keys, those that it does not have yet.

        With reset, they replace what it has. (Since 5.2.)
        """
        await self._ask(
            "guest-ssh-add-authorized-keys", {"username": username, "keys": list(keys), "reset": reset}, timeout
        )

    async def guest_ssh_remove_authorized_keys(
        self, username: str, keys: Sequence[str], *, timeout: float | None = None
    ) -> None:
        """Remove public keys from a user's .ssh/authorized_keys.

        It is no error if a key, or the file, is not there. (Since 5.2.)
        """
        await self._ask("guest-ssh-remove-authorized-keys", {"username": username, "keys": list(keys)}, timeout)

    async def guest_get_vcpus(self, *, timeout: float | None = None) -> list[LogicalProcessor]:
        """List the guest's logical processors, by number. (Since 1.5.)"""
        value = await self._ask("guest-get-vcpus", {}, timeout)
        from qga.client.replies import LogicalProcessor

        return [LogicalProcessor.read(item) for item in value]

    async def guest_set_vcpus(self, vcpus: Sequence[LogicalProcessor], *, timeout: float | None = None) -> int:
        """Take processors online or offline, in the order given, and stop at the first that fails.

        Returns how many were done; if the first one fails, its error. can-offline is ignored. (Since 1.5.)
        """
        value: int = await self._ask("guest-set-vcpus", {"vcpus": [item.write() for item in vcpus]}, timeout)
        return value

    async def guest_get_cpustats(self, *, timeout: float | None = None) -> list[CpuStats]:
        """How long each processor that is online has been in which state since the boot, in milliseconds.

        (Since 7.1.)
        """
        value = await self._ask("guest-get-cpustats", {}, timeout)
        from qga.client.replies import CpuStats

        return [part for item in value if (part := CpuStats.read(item)) is not None]

    async def guest_get_load(self, *, timeout: float | None = None) -> LoadAverage:
        """The load averages of the last 1, 5 and 15 minutes. (Since 10.0.)"""
        value = await self._ask("guest-get-load", {}, timeout)
        from qga.client.replies import LoadAverage

        return LoadAverage.read(value)

    async def guest_get_disks(self, *, timeout: float | None = None) -> list[DiskInfo]:
        """List the disks and their partitions, each disk before its own, by name. (Since 5.2.)"""
        value = await self._ask("guest-get-disks", {}, timeout)
        from qga.client.replies import DiskInfo

        return [DiskInfo.read(item) for item in value]

    async def guest_get_diskstats(self, *, timeout: float | None = None) -> list[DiskStatsInfo]:
        """Tell what the disks and partitions have been doing, in the kernel's order: Documentation/admin-
        guide/iostats.rst.

        (Since 7.1.)
        """
        value = await self._ask("guest-get-diskstats", {}, timeout)
        from qga.client.replies import DiskStatsInfo

        return [DiskStatsInfo.read(item) for item in value]

    async def guest_exec(
        self,
        path: str,
        arg: Sequence[str] | None = None,
        env: Sequence[str] | None = None,
        input_data: str | None = None,
        capture_output: bool | str | None = None,
        *,
        timeout: float | None = None,
    ) -> Exec:
        """Start a program, found through PATH where path has no slash, and do not wait for it.

        arg: its arguments, without its name. env: its whole environment, NAME=VALUE each; by default the agent's.
        input-data: all that it can read, in base64; by default nothing. capture-output: which of its output to
        keep; by default none. (Since 2.5.)
        """
        value = await self._ask(
            "guest-exec",
            {
                "path": path,
                "arg": None if arg is None else list(arg),
                "env": None if env is None else list(env),
                "input-data": input_data,
                "capture-output": capture_output,
            },
            timeout,
        )
        from qga.client.replies import Exec

        return Exec.read(value)

    async def guest_exec_status(self, pid: int, *, timeout: float | None = None) -> ExecStatus:
        """Say whether a program has ended, and if so, how, and what it wrote.

        That is told once: the agent forgets it then. A program has not ended while a process that it started still
        holds its captured output. (Since 2.5.)
        """
        value = await self._ask("guest-exec-status", {"pid": pid}, timeout)
        from qga.client.replies import ExecStatus

        return ExecStatus.read(value)

    async def guest_file_open(self, path: str, mode: str | None = None, *, timeout: float | None = None) -> int:
        """Open a file of the guest, in a mode of fopen(3), r by default.

        Returns a handle, which is never given twice, also not after a restart of the agent. (Since 0.15.)
        """
        value: int = await self._ask("guest-file-open", {"path": path, "mode": mode}, timeout)
        return value

    async def guest_file_close(self, handle: int, *, timeout: float | None = None) -> None:
        """Close a handle. It is gone also where closing it failed. (Since 0.15.)"""
        await self._ask("guest-file-close", {"handle": handle}, timeout)

    async def guest_file_read(
        self, handle: int, count: int | None = None, *, timeout: float | None = None
    ) -> FileRead:
        """Read up to count bytes (4096 by default, 48 MiB at most) from where the handle stands. (Since 0.15.)"""
        value = await self._ask("guest-file-read", {"handle": handle, "count": count}, timeout)
        from qga.client.replies import FileRead

        return FileRead.read(value)

    async def guest_file_write(
        self, handle: int, buf_b64: str, count: int | None = None, *, timeout: float | None = None
    ) -> FileWrite:
        """Write the first count bytes (all by default) of buf-b64 where the handle stands. (Since 0.15.)"""
        value = await self._ask("guest-file-write", {"handle": handle, "buf-b64": buf_b64, "count": count}, timeout)
        from qga.client.replies import FileWrite

        return FileWrite.read(value)

    async def guest_file_seek(
        self, handle: int, offset: int, whence: int | str, *, timeout: float | None = None
    ) -> FileSeek:
        """Move a handle to offset bytes from the start, from where it stands, or from the end. (Since 0.15.)"""
        value = await self._ask("guest-file-seek", {"handle": handle, "offset": offset, "whence": whence}, timeout)
        from qga.client.replies import FileSeek

        return FileSeek.read(value)

    async def guest_file_flush(self, handle: int, *, timeout: float | None = None) -> None:
        """Hand what was written to the guest's kernel, which this agent has done already. (Since 0.15.)"""
        await self._ask("guest-file-flush", {"handle": handle}, timeout)

    async def guest_get_fsinfo(self, *, timeout: float | None = None) -> list[FilesystemInfo]:
        """List the filesystems that lie on block devices, last mounted first, and the disks that they lie on.

        (Since 2.2.)
        """
        value = await self._ask("guest-get-fsinfo", {}, timeout)
        from qga.client.replies import FilesystemInfo

        return [FilesystemInfo.read(item) for item in value]

    async def guest_fstrim(
        self, minimum: int | None = None, *, timeout: float | None = None
    ) -> FilesystemTrimResponse:
        """Tell the disks which blocks no filesystem uses.

        minimum: bytes of the least free extent to tell of. (Since 1.2.)
        """
        value = await self._ask("guest-fstrim", {"minimum": minimum}, timeout)
        from qga.client.replies import FilesystemTrimResponse

        return FilesystemTrimResponse.read(value)

    async def guest_fsfreeze_status(self, *, timeout: float | None = None) -> str:
        """Say whether the agent holds filesystems frozen.

        It does not know of those that somebody else has frozen. (Since 0.15.)
        """
        value: str = await self._ask("guest-fsfreeze-status", {}, timeout)
        return value

    async def guest_fsfreeze_freeze(self, *, timeout: float | None = None) -> int:
        """Write down and freeze every filesystem that lies on a block device and can be frozen, so that a snapshot
        of the disks is consistent.

        Returns how many were frozen. If one fails, none stays frozen. Until the thaw only a few commands are
        allowed. (Since 0.15.)
        """
        value: int = await self._ask("guest-fsfreeze-freeze", {}, timeout)
        return value

    async def guest_fsfreeze_freeze_list(
        self, mountpoints: Sequence[str] | None = None, *, timeout: float | None = None
    ) -> int:
        """As guest-fsfreeze-freeze, but only the filesystems of which the mount point is listed.

        Without a list, all. (Since 2.2.)
        """
        value: int = await self._ask(
            "guest-fsfreeze-freeze-list", {"mountpoints": None if mountpoints is None else list(mountpoints)}, timeout
        )
        return value

    async def guest_fsfreeze_thaw(self, *, timeout: float | None = None) -> int:
        """Thaw every filesystem, whoever has frozen it. Returns how many were thawed. (Since 0.15.)"""
        value: int = await self._ask("guest-fsfreeze-thaw", {}, timeout)
        return value

    async def guest_get_memory_blocks(self, *, timeout: float | None = None) -> list[MemoryBlock]:
        """List the guest's memory blocks, by number; none where the kernel has no memory hot-plug. (Since 2.3.)"""
        value = await self._ask("guest-get-memory-blocks", {}, timeout)
        from qga.client.replies import MemoryBlock

        return [MemoryBlock.read(item) for item in value]

    async def guest_set_memory_blocks(
        self, mem_blks: Sequence[MemoryBlock], *, timeout: float | None = None
    ) -> list[MemoryBlockResponse]:
        """Take memory blocks online or offline, each as far as it goes.

        Returns what became of each, in the order given. (Since 2.3.)
        """
        value = await self._ask("guest-set-memory-blocks", {"mem-blks": [item.write() for item in mem_blks]}, timeout)
        from qga.client.replies import MemoryBlockResponse

        return [MemoryBlockResponse.read(item) for item in value]

    async def guest_get_memory_block_info(self, *, timeout: float | None = None) -> MemoryBlockInfo:
        """The size of a memory block, in bytes. (Since 2.3.)"""
        value = await self._ask("guest-get-memory-block-info", {}, timeout)
        from qga.client.replies import MemoryBlockInfo

        return MemoryBlockInfo.read(value)

    async def guest_network_get_interfaces(self, *, timeout: float | None = None) -> list[NetworkInterface]:
        """List the network interfaces, with their addresses and counters, in the kernel's order.

        An IPv4 address with a label of its own is listed under the label. (Since 1.1.)
        """
        value = await self._ask("guest-network-get-interfaces", {}, timeout)
        from qga.client.replies import NetworkInterface

        return [NetworkInterface.read(item) for item in value]

    async def guest_network_get_route(self, *, timeout: float | None = None) -> list[NetworkRoute]:
        """List the routes, IPv4 first, in the kernel's order. (Since 9.1.)"""
        value = await self._ask("guest-network-get-route", {}, timeout)
        from qga.client.replies import NetworkRoute

        return [NetworkRoute.read(item) for item in value]

    async def guest_shutdown(self, mode: str | None = None, *, timeout: float | None = None) -> None:
        """Shut the guest down.

        mode is halt, powerdown (the default) or reboot. Answers only when every way to do it failed. (Since 0.15.)
        """
        await self._ask("guest-shutdown", {"mode": mode}, timeout)

    async def guest_suspend_disk(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to disk (hibernate).

        Answers only when every method failed, with what each of them said. (Since 1.1.)
        """
        await self._ask("guest-suspend-disk", {}, timeout)

    async def guest_suspend_ram(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to RAM.

        The host wakes it with system_wakeup. Answers only when every method failed, with what each of them said.
        (Since 1.1.)
        """
        await self._ask("guest-suspend-ram", {}, timeout)

    async def guest_suspend_hybrid(self, *, timeout: float | None = None) -> None:
        """Save the guest to disk, then suspend it to RAM.

        Answers only when every method failed, with what each of them said. (Since 1.1.)
        """
        await self._ask("guest-suspend-hybrid", {}, timeout)

    async def guest_sync_delimited(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, in a reply that one byte 0xFF precedes: whatever a client received before that byte is stale.

        Send 0xFF before the request to make the agent drop a half request of an earlier client. (Since 1.1.)
        """
        value: int = await self._ask("guest-sync-delimited", {"id": id}, timeout)
        return value

    async def guest_sync(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, so that a client can tell the replies it waits for from stale ones. (Since 0.15.)"""
        value: int = await self._ask("guest-sync", {"id": id}, timeout)
        return value

    async def guest_ping(self, *, timeout: float | None = None) -> None:
        """Do nothing, successfully: the agent is there. (Since 0.15.)"""
        await self._ask("guest-ping", {}, timeout)

    async def guest_info(self, *, timeout: float | None = None) -> AgentInfo:
        """Say which level of the interface the agent implements and which commands it has. (Since 0.15.)"""
        value = await self._ask("guest-info", {}, timeout)
        from qga.client.replies import AgentInfo

        return AgentInfo.read(value)

    async def guest_get_host_name(self, *, timeout: float | None = None) -> HostName:
        """Tell the name of the guest, as it calls itself. (Since 2.10.)"""
        value = await self._ask("guest-get-host-name", {}, timeout)
        from qga.client.replies import HostName

        return HostName.read(value)

    async def guest_get_users(self, *, timeout: float | None = None) -> list[User]:
        """List the users who are logged in, each once, in the order in which they logged in as far as it is known.

        (Since 2.10.)
        """
        value = await self._ask("guest-get-users", {}, timeout)
        from qga.client.replies import User

        return [User.read(item) for item in value]

    async def guest_get_timezone(self, *, timeout: float | None = None) -> Timezone:
        """Tell the guest's time zone. (Since 2.10.)"""
        value = await self._ask("guest-get-timezone", {}, timeout)
        from qga.client.replies import Timezone

        return Timezone.read(value)

    async def guest_get_osinfo(self, *, timeout: float | None = None) -> OSInfo:
        """Tell which operating system this is: uname(2) and os-release(5). (Since 2.10.)"""
        value = await self._ask("guest-get-osinfo", {}, timeout)
        from qga.client.replies import OSInfo

        return OSInfo.read(value)

    async def guest_get_time(self, *, timeout: float | None = None) -> int:
        """The guest's clock: nanoseconds since 1970 in UTC, to the microsecond. (Since 1.5.)"""
        value: int = await self._ask("guest-get-time", {}, timeout)
        return value

    async def guest_set_time(self, time: int | None = None, *, timeout: float | None = None) -> None:
        """Set the guest's clock to a time in nanoseconds since 1970 in UTC, and the hardware clock to it; a
        hardware clock that cannot be set is only logged.

        Without a time, set the guest's clock from the hardware clock. (Since 1.5.)
        """
        await self._ask("guest-set-time", {"time": time}, timeout)
