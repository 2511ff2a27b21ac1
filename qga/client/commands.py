"""A typed method for every command of the schema and for operations, blocking and for asyncio.

Generated from schema/ by tests/client_source.py: change that, not this.
"""

# ruff: noqa: A002
from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

if TYPE_CHECKING:
    from qga.client.operations.listing import TreeEntry
    from qga.client.operations.outcome import Outcome, Progress
    from qga.client.operations.run import Completed
    from qga.client.replies import (
        AgentInfo,
        AuthorizedKeys,
        CpuStats,
        DiskInfo,
        DiskStatsInfo,
        Exec,
        ExecCaptureOutputMode,
        ExecStatus,
        FileRead,
        FileSeek,
        FilesystemInfo,
        FilesystemTrimResponse,
        FileWrite,
        FsfreezeStatus,
        HostName,
        LoadAverage,
        LogicalProcessor,
        MemoryBlock,
        MemoryBlockInfo,
        MemoryBlockResponse,
        NetworkInterface,
        NetworkRoute,
        OSInfo,
        QGASeek,
        Timezone,
        User,
    )

T = TypeVar("T")

# Commands that answer only when they fail.
SILENT = frozenset({"guest-shutdown", "guest-suspend-disk", "guest-suspend-ram", "guest-suspend-hybrid"})


class Commands:
    """``timeout``: seconds; by default the client's, or what suits the command."""

    def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        raise NotImplementedError

    def _read(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        value = self._ask(command, arguments, timeout)
        from qga.client.replies import read

        return read(command, value)

    def carry_out(self, operation: Awaitable[T]) -> T:
        """Do what an operation requests, one after the other. What goes wrong is raised in it."""
        raise NotImplementedError

    def guest_set_user_password(
        self, username: str, password: str, crypted: bool, *, timeout: float | None = None
    ) -> None:
        """Set a user's password with chpasswd(8). Since QEMU 2.3.

        Args:
            username: Login name of the user.
            password: The new password in base64; if it is hashed already, its hash, as crypt(5) writes it. It holds
                no newline.
            crypted: Whether the password is hashed already.
        """
        self._ask(
            "guest-set-user-password", {"username": username, "password": password, "crypted": crypted}, timeout
        )

    def guest_ssh_get_authorized_keys(self, username: str, *, timeout: float | None = None) -> AuthorizedKeys:
        """List the public keys in a user's .ssh/authorized_keys. Since QEMU 5.2.

        Args:
            username: Login name of the user whose keys are listed.
        """
        value: AuthorizedKeys = self._read("guest-ssh-get-authorized-keys", {"username": username}, timeout)
        return value

    def guest_ssh_add_authorized_keys(
        self, username: str, keys: Sequence[str], reset: bool | None = None, *, timeout: float | None = None
    ) -> None:
        """Add public keys to a user's .ssh/authorized_keys.

        Those that are there already stay, and are not added again. Since QEMU 5.2.

        Args:
            username: Login name of the user who gets the keys.
            keys: Public keys, each as one line of the file; comments are refused.
            reset: Whether the keys replace everything that the file has. Unset: false, they are added to it.
        """
        self._ask(
            "guest-ssh-add-authorized-keys", {"username": username, "keys": list(keys), "reset": reset}, timeout
        )

    def guest_ssh_remove_authorized_keys(
        self, username: str, keys: Sequence[str], *, timeout: float | None = None
    ) -> None:
        """Remove public keys from a user's .ssh/authorized_keys.

        A key that is not there is not an error, nor is a missing file. Since QEMU 5.2.

        Args:
            username: Login name of the user who loses the keys.
            keys: Public keys, each exactly as the line of the file that is removed.
        """
        self._ask("guest-ssh-remove-authorized-keys", {"username": username, "keys": list(keys)}, timeout)

    def guest_get_vcpus(self, *, timeout: float | None = None) -> list[LogicalProcessor]:
        """List the guest's logical processors, by number. Since QEMU 1.5."""
        value: list[LogicalProcessor] = self._read("guest-get-vcpus", {}, timeout)
        return value

    def guest_set_vcpus(self, vcpus: Sequence[LogicalProcessor], *, timeout: float | None = None) -> int:
        """Take processors online or offline, and stop at the first that fails.

        Returns how many were done; if the first one fails, its error. Since QEMU 1.5.

        Args:
            vcpus: The processors to change, in this order.
        """
        value: int = self._ask("guest-set-vcpus", {"vcpus": [item.write() for item in vcpus]}, timeout)
        return value

    def guest_get_cpustats(self, *, timeout: float | None = None) -> list[CpuStats]:
        """Say how long each processor that is online has been in which state since the boot. Since QEMU 7.1."""
        value: list[CpuStats] = self._read("guest-get-cpustats", {}, timeout)
        return value

    def guest_get_load(self, *, timeout: float | None = None) -> LoadAverage:
        """Return the load averages of the last 1, 5 and 15 minutes. Since QEMU 10.0."""
        value: LoadAverage = self._read("guest-get-load", {}, timeout)
        return value

    def guest_get_disks(self, *, timeout: float | None = None) -> list[DiskInfo]:
        """List the disks, by name, each followed by its partitions. Since QEMU 5.2."""
        value: list[DiskInfo] = self._read("guest-get-disks", {}, timeout)
        return value

    def guest_get_diskstats(self, *, timeout: float | None = None) -> list[DiskStatsInfo]:
        """Return the counters of the disks and partitions, in the kernel's order.

        They are described in Linux's Documentation/admin-guide/iostats.rst. Since QEMU 7.1.
        """
        value: list[DiskStatsInfo] = self._read("guest-get-diskstats", {}, timeout)
        return value

    def guest_exec(
        self,
        path: str,
        arg: Sequence[str] | None = None,
        env: Sequence[str] | None = None,
        input_data: str | None = None,
        capture_output: bool | ExecCaptureOutputMode | None = None,
        *,
        timeout: float | None = None,
    ) -> Exec:
        """Start a program, and do not wait for it to end. Since QEMU 2.5.

        Args:
            path: The program; without a slash it is looked up in PATH.
            arg: Arguments of the program, without its own name. Unset: none.
            env: The program's whole environment, each as NAME=VALUE. Unset: the agent's own.
            input_data: Standard input of the program, in base64. Unset: nothing.
            capture_output: Which output is kept for guest-exec-status. Unset: none.
        """
        value: Exec = self._read(
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
        return value

    def guest_exec_status(self, pid: int, *, timeout: float | None = None) -> ExecStatus:
        """Say whether a program has ended, and if so, how, and what it wrote.

        The agent forgets a program once it has said that it ended. A program has not ended while a process that it
        started still holds its captured output. Since QEMU 2.5.

        Args:
            pid: The process id that guest-exec returned.
        """
        value: ExecStatus = self._read("guest-exec-status", {"pid": pid}, timeout)
        return value

    def guest_file_open(self, path: str, mode: str | None = None, *, timeout: float | None = None) -> int:
        """Open a file of the guest.

        Returns a handle, which is never given twice, not even after a restart of the agent. Since QEMU 0.15.

        Args:
            path: Path of the file in the guest.
            mode: How to open it, as in fopen(3): r, w or a, also with + or b. Unset: r.
        """
        value: int = self._ask("guest-file-open", {"path": path, "mode": mode}, timeout)
        return value

    def guest_file_close(self, handle: int, *, timeout: float | None = None) -> None:
        """Close a handle. It is gone even if closing it failed. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
        """
        self._ask("guest-file-close", {"handle": handle}, timeout)

    def guest_file_read(self, handle: int, count: int | None = None, *, timeout: float | None = None) -> FileRead:
        """Read from a file, at the position of its handle. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
            count: Bytes to read at most, 50331648 (48 MiB) or less. Unset: 4096.
        """
        value: FileRead = self._read("guest-file-read", {"handle": handle, "count": count}, timeout)
        return value

    def guest_file_write(
        self, handle: int, buf_b64: str, count: int | None = None, *, timeout: float | None = None
    ) -> FileWrite:
        """Write to a file, at the position of its handle. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
            buf_b64: What to write, in base64.
            count: How many bytes of it to write. Unset: all.
        """
        value: FileWrite = self._read(
            "guest-file-write", {"handle": handle, "buf-b64": buf_b64, "count": count}, timeout
        )
        return value

    def guest_file_seek(
        self, handle: int, offset: int, whence: int | QGASeek, *, timeout: float | None = None
    ) -> FileSeek:
        """Move the position of a handle. Returns the new one. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
            offset: Bytes to move, backwards if negative.
            whence: Where offset is counted from.
        """
        value: FileSeek = self._read(
            "guest-file-seek", {"handle": handle, "offset": offset, "whence": whence}, timeout
        )
        return value

    def guest_file_flush(self, handle: int, *, timeout: float | None = None) -> None:
        """Hand what was written to the guest's kernel. This agent has done so already. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
        """
        self._ask("guest-file-flush", {"handle": handle}, timeout)

    def guest_get_fsinfo(self, *, timeout: float | None = None) -> list[FilesystemInfo]:
        """List the filesystems that lie on block devices, last mounted first, with the disks below them.

        Since QEMU 2.2.
        """
        value: list[FilesystemInfo] = self._read("guest-get-fsinfo", {}, timeout)
        return value

    def guest_fstrim(self, minimum: int | None = None, *, timeout: float | None = None) -> FilesystemTrimResponse:
        """Discard the blocks that no filesystem uses (trim), so that the disks can give them back.

        A filesystem that cannot be trimmed does not make the command fail. Since QEMU 1.2.

        Args:
            minimum: Bytes that a free extent needs to be trimmed; smaller ones are skipped. Unset: 0, all are
                trimmed.
        """
        value: FilesystemTrimResponse = self._read("guest-fstrim", {"minimum": minimum}, timeout)
        return value

    def guest_fsfreeze_status(self, *, timeout: float | None = None) -> FsfreezeStatus:
        """Say whether the agent holds filesystems frozen.

        It does not know of those that others have frozen. Since QEMU 0.15.
        """
        value: FsfreezeStatus = self._ask("guest-fsfreeze-status", {}, timeout)
        return value

    def guest_fsfreeze_freeze(self, *, timeout: float | None = None) -> int:
        """Flush and freeze every filesystem that lies on a block device and can be frozen.

        A snapshot of the disks is consistent then. Returns how many were frozen. If one fails, none stays frozen.
        Until the thaw only a few commands are allowed. Since QEMU 0.15.
        """
        value: int = self._ask("guest-fsfreeze-freeze", {}, timeout)
        return value

    def guest_fsfreeze_freeze_list(
        self, mountpoints: Sequence[str] | None = None, *, timeout: float | None = None
    ) -> int:
        """Freeze as guest-fsfreeze-freeze does, but only the filesystems that are named. Since QEMU 2.2.

        Args:
            mountpoints: Mount points of the filesystems to freeze; those that nothing is mounted at are ignored.
                Unset: all filesystems.
        """
        value: int = self._ask(
            "guest-fsfreeze-freeze-list", {"mountpoints": None if mountpoints is None else list(mountpoints)}, timeout
        )
        return value

    def guest_fsfreeze_thaw(self, *, timeout: float | None = None) -> int:
        """Thaw every filesystem, whoever has frozen it. Returns how many were thawed. Since QEMU 0.15."""
        value: int = self._ask("guest-fsfreeze-thaw", {}, timeout)
        return value

    def guest_get_memory_blocks(self, *, timeout: float | None = None) -> list[MemoryBlock]:
        """List the guest's memory blocks, by number; none where the kernel has no memory hot-plug. Since QEMU 2.3."""
        value: list[MemoryBlock] = self._read("guest-get-memory-blocks", {}, timeout)
        return value

    def guest_set_memory_blocks(
        self, mem_blks: Sequence[MemoryBlock], *, timeout: float | None = None
    ) -> list[MemoryBlockResponse]:
        """Take memory blocks online or offline.

        One that fails does not stop the others. Returns what became of each, in the order given. Since QEMU 2.3.

        Args:
            mem_blks: The memory blocks to change, in this order.
        """
        value: list[MemoryBlockResponse] = self._read(
            "guest-set-memory-blocks", {"mem-blks": [item.write() for item in mem_blks]}, timeout
        )
        return value

    def guest_get_memory_block_info(self, *, timeout: float | None = None) -> MemoryBlockInfo:
        """Return the size of a memory block. Since QEMU 2.3."""
        value: MemoryBlockInfo = self._read("guest-get-memory-block-info", {}, timeout)
        return value

    def guest_network_get_interfaces(self, *, timeout: float | None = None) -> list[NetworkInterface]:
        """List the network interfaces, with their addresses and counters, in the kernel's order.

        An IPv4 address with a label of its own is listed under the label. Since QEMU 1.1.
        """
        value: list[NetworkInterface] = self._read("guest-network-get-interfaces", {}, timeout)
        return value

    def guest_network_get_route(self, *, timeout: float | None = None) -> list[NetworkRoute]:
        """List the routes, IPv4 first, in the kernel's order. Since QEMU 9.1."""
        value: list[NetworkRoute] = self._read("guest-network-get-route", {}, timeout)
        return value

    def guest_shutdown(self, mode: str | None = None, *, timeout: float | None = None) -> None:
        """Shut the guest down. Answers only when every way to do it failed. Since QEMU 0.15.

        Args:
            mode: What to do: powerdown, halt (stop, but leave the power on) or reboot. Unset: powerdown.
        """
        self._ask("guest-shutdown", {"mode": mode}, timeout)

    def guest_suspend_disk(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to disk (hibernate).

        Answers only when every method failed, with the error of each. Since QEMU 1.1.
        """
        self._ask("guest-suspend-disk", {}, timeout)

    def guest_suspend_ram(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to RAM.

        The host wakes it with QEMU's system_wakeup. Answers only when every method failed, with the error of each.
        Since QEMU 1.1.
        """
        self._ask("guest-suspend-ram", {}, timeout)

    def guest_suspend_hybrid(self, *, timeout: float | None = None) -> None:
        """Save the guest to disk, then suspend it to RAM.

        Answers only when every method failed, with the error of each. Since QEMU 1.1.
        """
        self._ask("guest-suspend-hybrid", {}, timeout)

    def guest_sync_delimited(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, in a reply that one byte 0xFF precedes: whatever a client received before that byte is stale.

        Send 0xFF before the request to make the agent discard an unfinished request of an earlier client. Since
        QEMU 1.1.

        Args:
            id: Any number, best chosen at random.
        """
        value: int = self._ask("guest-sync-delimited", {"id": id}, timeout)
        return value

    def guest_sync(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, by which a client recognises the reply that it waits for among stale ones. Since QEMU 0.15.

        Args:
            id: Any number, best chosen at random.
        """
        value: int = self._ask("guest-sync", {"id": id}, timeout)
        return value

    def guest_ping(self, *, timeout: float | None = None) -> None:
        """Do nothing but answer, so that a host knows that the agent runs. Since QEMU 0.15."""
        self._ask("guest-ping", {}, timeout)

    def guest_info(self, *, timeout: float | None = None) -> AgentInfo:
        """Return the level of the interface that the agent implements, and the commands that it has.

        Since QEMU 0.15.
        """
        value: AgentInfo = self._read("guest-info", {}, timeout)
        return value

    def guest_get_host_name(self, *, timeout: float | None = None) -> HostName:
        """Return the name of the guest, as it calls itself. Since QEMU 2.10."""
        value: HostName = self._read("guest-get-host-name", {}, timeout)
        return value

    def guest_get_users(self, *, timeout: float | None = None) -> list[User]:
        """List the users who are logged in, each once, in the order in which they logged in as far as it is known.

        Since QEMU 2.10.
        """
        value: list[User] = self._read("guest-get-users", {}, timeout)
        return value

    def guest_get_timezone(self, *, timeout: float | None = None) -> Timezone:
        """Return the guest's time zone. Since QEMU 2.10."""
        value: Timezone = self._read("guest-get-timezone", {}, timeout)
        return value

    def guest_get_osinfo(self, *, timeout: float | None = None) -> OSInfo:
        """Say which operating system this is, from uname(2) and os-release(5). Since QEMU 2.10."""
        value: OSInfo = self._read("guest-get-osinfo", {}, timeout)
        return value

    def guest_get_time(self, *, timeout: float | None = None) -> int:
        """Return the guest's clock: nanoseconds since 1970 in UTC, to the microsecond. Since QEMU 1.5."""
        value: int = self._ask("guest-get-time", {}, timeout)
        return value

    def guest_set_time(self, time: int | None = None, *, timeout: float | None = None) -> None:
        """Set the guest's clock and the hardware clock.

        Without a time, the guest's clock is set from the hardware clock. If only the hardware clock cannot be set,
        that is just logged. Since QEMU 1.5.

        Args:
            time: Nanoseconds since 1970 in UTC. Unset: the time of the hardware clock.
        """
        self._ask("guest-set-time", {"time": time}, timeout)

    def run(
        self,
        argv: Iterable[str],
        *,
        input: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        capture_output: bool = True,
        check: bool = False,
        text: bool = False,
    ) -> Completed:
        """Run a program in the guest and wait for it, as ``subprocess.run``.

        ``env`` is its whole environment. After ``timeout`` seconds (none by default) it is killed, where the guest
        has kill(1), and AgentTimeout raised. Output beyond 16 MiB of a stream is lost: ``truncated`` says so.
        """
        from qga.client.operations.run import run

        return self.carry_out(
            run(argv, input=input, env=env, timeout=timeout, capture_output=capture_output, check=check, text=text)
        )

    def download(
        self,
        source: str,
        target: str | BinaryIO,
        *,
        dir_fd: int | None = None,
        progress: Progress | None = None,
        resume: bool = False,
        verify: bool = True,
        preserve: bool = True,
        keep_setuid: bool = False,
        device: bool = False,
    ) -> Outcome:
        """Copy a file of the guest to this machine: to a path, or into a file that is open for writing bytes.

        ``progress`` is called as the copy grows. ``resume``: a copy that breaks leaves its part beside the target,
        and the next one goes on there. ``verify``: compare the hashes of both ends. ``preserve``: keep permissions
        and times; ``keep_setuid``: the setuid, setgid and sticky bits, too. ``dir_fd``: the target is a name in
        this open directory, and where that is a symbolic link it is replaced and not followed. ``device``: a block
        device is read, or written into, from its beginning on, where the one or the other path is of one.

        Raises OSError for this machine's files, ClientError for the rest.
        """
        from qga.client.operations.download import download

        return self.carry_out(
            download(
                source,
                target,
                dir_fd=dir_fd,
                progress=progress,
                resume=resume,
                verify=verify,
                preserve=preserve,
                keep_setuid=keep_setuid,
                device=device,
            )
        )

    def upload(
        self,
        source: str | BinaryIO,
        target: str,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        verify: bool = True,
        preserve: bool = True,
        keep_setuid: bool = False,
        device: bool = False,
        insecure: bool = False,
    ) -> Outcome:
        """Copy a file of this machine, a path or a file that is open for reading bytes, into the guest.

        The options are those of ``download``. Where the guest runs no programs, nobody can say what the target's
        mode is or set it, and who may change a directory on the way decides where that leads. That is refused with
        a ClientError, before anything is written; with ``insecure`` the target is written in place, and a note says
        so.
        """
        from qga.client.operations.copy import upload

        return self.carry_out(
            upload(
                source,
                target,
                progress=progress,
                resume=resume,
                verify=verify,
                preserve=preserve,
                keep_setuid=keep_setuid,
                device=device,
                insecure=insecure,
            )
        )

    def list_tree(self, path: str) -> list[TreeEntry]:
        """List a directory of the guest and all below it.

        The first entry is the directory itself, also where ``path`` is a symbolic link to it; every other entry
        comes after the directory that it is in. Links below it are listed, and not followed.

        The guest must have a sh, and find(1) with -printf or else stat(1) and readlink(1). Raises ClientError where
        that fails, where ``path`` is not a directory, for a list that is not a tree's, and for one of more than 16
        MiB or 500,000 entries.
        """
        from qga.client.operations.listing import list_tree

        return self.carry_out(list_tree(path))


class AsyncCommands:
    """``timeout``: seconds; by default the client's, or what suits the command."""

    async def _ask(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        raise NotImplementedError

    async def _read(self, command: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        value = await self._ask(command, arguments, timeout)
        from qga.client.replies import read

        return read(command, value)

    async def carry_out(self, operation: Awaitable[T]) -> T:
        """Do what an operation requests, one after the other. What goes wrong is raised in it."""
        raise NotImplementedError

    async def guest_set_user_password(
        self, username: str, password: str, crypted: bool, *, timeout: float | None = None
    ) -> None:
        """Set a user's password with chpasswd(8). Since QEMU 2.3.

        Args:
            username: Login name of the user.
            password: The new password in base64; if it is hashed already, its hash, as crypt(5) writes it. It holds
                no newline.
            crypted: Whether the password is hashed already.
        """
        await self._ask(
            "guest-set-user-password", {"username": username, "password": password, "crypted": crypted}, timeout
        )

    async def guest_ssh_get_authorized_keys(self, username: str, *, timeout: float | None = None) -> AuthorizedKeys:
        """List the public keys in a user's .ssh/authorized_keys. Since QEMU 5.2.

        Args:
            username: Login name of the user whose keys are listed.
        """
        value: AuthorizedKeys = await self._read("guest-ssh-get-authorized-keys", {"username": username}, timeout)
        return value

    async def guest_ssh_add_authorized_keys(
        self, username: str, keys: Sequence[str], reset: bool | None = None, *, timeout: float | None = None
    ) -> None:
        """Add public keys to a user's .ssh/authorized_keys.

        Those that are there already stay, and are not added again. Since QEMU 5.2.

        Args:
            username: Login name of the user who gets the keys.
            keys: Public keys, each as one line of the file; comments are refused.
            reset: Whether the keys replace everything that the file has. Unset: false, they are added to it.
        """
        await self._ask(
            "guest-ssh-add-authorized-keys", {"username": username, "keys": list(keys), "reset": reset}, timeout
        )

    async def guest_ssh_remove_authorized_keys(
        self, username: str, keys: Sequence[str], *, timeout: float | None = None
    ) -> None:
        """Remove public keys from a user's .ssh/authorized_keys.

        A key that is not there is not an error, nor is a missing file. Since QEMU 5.2.

        Args:
            username: Login name of the user who loses the keys.
            keys: Public keys, each exactly as the line of the file that is removed.
        """
        await self._ask("guest-ssh-remove-authorized-keys", {"username": username, "keys": list(keys)}, timeout)

    async def guest_get_vcpus(self, *, timeout: float | None = None) -> list[LogicalProcessor]:
        """List the guest's logical processors, by number. Since QEMU 1.5."""
        value: list[LogicalProcessor] = await self._read("guest-get-vcpus", {}, timeout)
        return value

    async def guest_set_vcpus(self, vcpus: Sequence[LogicalProcessor], *, timeout: float | None = None) -> int:
        """Take processors online or offline, and stop at the first that fails.

        Returns how many were done; if the first one fails, its error. Since QEMU 1.5.

        Args:
            vcpus: The processors to change, in this order.
        """
        value: int = await self._ask("guest-set-vcpus", {"vcpus": [item.write() for item in vcpus]}, timeout)
        return value

    async def guest_get_cpustats(self, *, timeout: float | None = None) -> list[CpuStats]:
        """Say how long each processor that is online has been in which state since the boot. Since QEMU 7.1."""
        value: list[CpuStats] = await self._read("guest-get-cpustats", {}, timeout)
        return value

    async def guest_get_load(self, *, timeout: float | None = None) -> LoadAverage:
        """Return the load averages of the last 1, 5 and 15 minutes. Since QEMU 10.0."""
        value: LoadAverage = await self._read("guest-get-load", {}, timeout)
        return value

    async def guest_get_disks(self, *, timeout: float | None = None) -> list[DiskInfo]:
        """List the disks, by name, each followed by its partitions. Since QEMU 5.2."""
        value: list[DiskInfo] = await self._read("guest-get-disks", {}, timeout)
        return value

    async def guest_get_diskstats(self, *, timeout: float | None = None) -> list[DiskStatsInfo]:
        """Return the counters of the disks and partitions, in the kernel's order.

        They are described in Linux's Documentation/admin-guide/iostats.rst. Since QEMU 7.1.
        """
        value: list[DiskStatsInfo] = await self._read("guest-get-diskstats", {}, timeout)
        return value

    async def guest_exec(
        self,
        path: str,
        arg: Sequence[str] | None = None,
        env: Sequence[str] | None = None,
        input_data: str | None = None,
        capture_output: bool | ExecCaptureOutputMode | None = None,
        *,
        timeout: float | None = None,
    ) -> Exec:
        """Start a program, and do not wait for it to end. Since QEMU 2.5.

        Args:
            path: The program; without a slash it is looked up in PATH.
            arg: Arguments of the program, without its own name. Unset: none.
            env: The program's whole environment, each as NAME=VALUE. Unset: the agent's own.
            input_data: Standard input of the program, in base64. Unset: nothing.
            capture_output: Which output is kept for guest-exec-status. Unset: none.
        """
        value: Exec = await self._read(
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
        return value

    async def guest_exec_status(self, pid: int, *, timeout: float | None = None) -> ExecStatus:
        """Say whether a program has ended, and if so, how, and what it wrote.

        The agent forgets a program once it has said that it ended. A program has not ended while a process that it
        started still holds its captured output. Since QEMU 2.5.

        Args:
            pid: The process id that guest-exec returned.
        """
        value: ExecStatus = await self._read("guest-exec-status", {"pid": pid}, timeout)
        return value

    async def guest_file_open(self, path: str, mode: str | None = None, *, timeout: float | None = None) -> int:
        """Open a file of the guest.

        Returns a handle, which is never given twice, not even after a restart of the agent. Since QEMU 0.15.

        Args:
            path: Path of the file in the guest.
            mode: How to open it, as in fopen(3): r, w or a, also with + or b. Unset: r.
        """
        value: int = await self._ask("guest-file-open", {"path": path, "mode": mode}, timeout)
        return value

    async def guest_file_close(self, handle: int, *, timeout: float | None = None) -> None:
        """Close a handle. It is gone even if closing it failed. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
        """
        await self._ask("guest-file-close", {"handle": handle}, timeout)

    async def guest_file_read(
        self, handle: int, count: int | None = None, *, timeout: float | None = None
    ) -> FileRead:
        """Read from a file, at the position of its handle. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
            count: Bytes to read at most, 50331648 (48 MiB) or less. Unset: 4096.
        """
        value: FileRead = await self._read("guest-file-read", {"handle": handle, "count": count}, timeout)
        return value

    async def guest_file_write(
        self, handle: int, buf_b64: str, count: int | None = None, *, timeout: float | None = None
    ) -> FileWrite:
        """Write to a file, at the position of its handle. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
            buf_b64: What to write, in base64.
            count: How many bytes of it to write. Unset: all.
        """
        value: FileWrite = await self._read(
            "guest-file-write", {"handle": handle, "buf-b64": buf_b64, "count": count}, timeout
        )
        return value

    async def guest_file_seek(
        self, handle: int, offset: int, whence: int | QGASeek, *, timeout: float | None = None
    ) -> FileSeek:
        """Move the position of a handle. Returns the new one. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
            offset: Bytes to move, backwards if negative.
            whence: Where offset is counted from.
        """
        value: FileSeek = await self._read(
            "guest-file-seek", {"handle": handle, "offset": offset, "whence": whence}, timeout
        )
        return value

    async def guest_file_flush(self, handle: int, *, timeout: float | None = None) -> None:
        """Hand what was written to the guest's kernel. This agent has done so already. Since QEMU 0.15.

        Args:
            handle: The handle that guest-file-open returned.
        """
        await self._ask("guest-file-flush", {"handle": handle}, timeout)

    async def guest_get_fsinfo(self, *, timeout: float | None = None) -> list[FilesystemInfo]:
        """List the filesystems that lie on block devices, last mounted first, with the disks below them.

        Since QEMU 2.2.
        """
        value: list[FilesystemInfo] = await self._read("guest-get-fsinfo", {}, timeout)
        return value

    async def guest_fstrim(
        self, minimum: int | None = None, *, timeout: float | None = None
    ) -> FilesystemTrimResponse:
        """Discard the blocks that no filesystem uses (trim), so that the disks can give them back.

        A filesystem that cannot be trimmed does not make the command fail. Since QEMU 1.2.

        Args:
            minimum: Bytes that a free extent needs to be trimmed; smaller ones are skipped. Unset: 0, all are
                trimmed.
        """
        value: FilesystemTrimResponse = await self._read("guest-fstrim", {"minimum": minimum}, timeout)
        return value

    async def guest_fsfreeze_status(self, *, timeout: float | None = None) -> FsfreezeStatus:
        """Say whether the agent holds filesystems frozen.

        It does not know of those that others have frozen. Since QEMU 0.15.
        """
        value: FsfreezeStatus = await self._ask("guest-fsfreeze-status", {}, timeout)
        return value

    async def guest_fsfreeze_freeze(self, *, timeout: float | None = None) -> int:
        """Flush and freeze every filesystem that lies on a block device and can be frozen.

        A snapshot of the disks is consistent then. Returns how many were frozen. If one fails, none stays frozen.
        Until the thaw only a few commands are allowed. Since QEMU 0.15.
        """
        value: int = await self._ask("guest-fsfreeze-freeze", {}, timeout)
        return value

    async def guest_fsfreeze_freeze_list(
        self, mountpoints: Sequence[str] | None = None, *, timeout: float | None = None
    ) -> int:
        """Freeze as guest-fsfreeze-freeze does, but only the filesystems that are named. Since QEMU 2.2.

        Args:
            mountpoints: Mount points of the filesystems to freeze; those that nothing is mounted at are ignored.
                Unset: all filesystems.
        """
        value: int = await self._ask(
            "guest-fsfreeze-freeze-list", {"mountpoints": None if mountpoints is None else list(mountpoints)}, timeout
        )
        return value

    async def guest_fsfreeze_thaw(self, *, timeout: float | None = None) -> int:
        """Thaw every filesystem, whoever has frozen it. Returns how many were thawed. Since QEMU 0.15."""
        value: int = await self._ask("guest-fsfreeze-thaw", {}, timeout)
        return value

    async def guest_get_memory_blocks(self, *, timeout: float | None = None) -> list[MemoryBlock]:
        """List the guest's memory blocks, by number; none where the kernel has no memory hot-plug. Since QEMU 2.3."""
        value: list[MemoryBlock] = await self._read("guest-get-memory-blocks", {}, timeout)
        return value

    async def guest_set_memory_blocks(
        self, mem_blks: Sequence[MemoryBlock], *, timeout: float | None = None
    ) -> list[MemoryBlockResponse]:
        """Take memory blocks online or offline.

        One that fails does not stop the others. Returns what became of each, in the order given. Since QEMU 2.3.

        Args:
            mem_blks: The memory blocks to change, in this order.
        """
        value: list[MemoryBlockResponse] = await self._read(
            "guest-set-memory-blocks", {"mem-blks": [item.write() for item in mem_blks]}, timeout
        )
        return value

    async def guest_get_memory_block_info(self, *, timeout: float | None = None) -> MemoryBlockInfo:
        """Return the size of a memory block. Since QEMU 2.3."""
        value: MemoryBlockInfo = await self._read("guest-get-memory-block-info", {}, timeout)
        return value

    async def guest_network_get_interfaces(self, *, timeout: float | None = None) -> list[NetworkInterface]:
        """List the network interfaces, with their addresses and counters, in the kernel's order.

        An IPv4 address with a label of its own is listed under the label. Since QEMU 1.1.
        """
        value: list[NetworkInterface] = await self._read("guest-network-get-interfaces", {}, timeout)
        return value

    async def guest_network_get_route(self, *, timeout: float | None = None) -> list[NetworkRoute]:
        """List the routes, IPv4 first, in the kernel's order. Since QEMU 9.1."""
        value: list[NetworkRoute] = await self._read("guest-network-get-route", {}, timeout)
        return value

    async def guest_shutdown(self, mode: str | None = None, *, timeout: float | None = None) -> None:
        """Shut the guest down. Answers only when every way to do it failed. Since QEMU 0.15.

        Args:
            mode: What to do: powerdown, halt (stop, but leave the power on) or reboot. Unset: powerdown.
        """
        await self._ask("guest-shutdown", {"mode": mode}, timeout)

    async def guest_suspend_disk(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to disk (hibernate).

        Answers only when every method failed, with the error of each. Since QEMU 1.1.
        """
        await self._ask("guest-suspend-disk", {}, timeout)

    async def guest_suspend_ram(self, *, timeout: float | None = None) -> None:
        """Suspend the guest to RAM.

        The host wakes it with QEMU's system_wakeup. Answers only when every method failed, with the error of each.
        Since QEMU 1.1.
        """
        await self._ask("guest-suspend-ram", {}, timeout)

    async def guest_suspend_hybrid(self, *, timeout: float | None = None) -> None:
        """Save the guest to disk, then suspend it to RAM.

        Answers only when every method failed, with the error of each. Since QEMU 1.1.
        """
        await self._ask("guest-suspend-hybrid", {}, timeout)

    async def guest_sync_delimited(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, in a reply that one byte 0xFF precedes: whatever a client received before that byte is stale.

        Send 0xFF before the request to make the agent discard an unfinished request of an earlier client. Since
        QEMU 1.1.

        Args:
            id: Any number, best chosen at random.
        """
        value: int = await self._ask("guest-sync-delimited", {"id": id}, timeout)
        return value

    async def guest_sync(self, id: int, *, timeout: float | None = None) -> int:
        """Return id, by which a client recognises the reply that it waits for among stale ones. Since QEMU 0.15.

        Args:
            id: Any number, best chosen at random.
        """
        value: int = await self._ask("guest-sync", {"id": id}, timeout)
        return value

    async def guest_ping(self, *, timeout: float | None = None) -> None:
        """Do nothing but answer, so that a host knows that the agent runs. Since QEMU 0.15."""
        await self._ask("guest-ping", {}, timeout)

    async def guest_info(self, *, timeout: float | None = None) -> AgentInfo:
        """Return the level of the interface that the agent implements, and the commands that it has.

        Since QEMU 0.15.
        """
        value: AgentInfo = await self._read("guest-info", {}, timeout)
        return value

    async def guest_get_host_name(self, *, timeout: float | None = None) -> HostName:
        """Return the name of the guest, as it calls itself. Since QEMU 2.10."""
        value: HostName = await self._read("guest-get-host-name", {}, timeout)
        return value

    async def guest_get_users(self, *, timeout: float | None = None) -> list[User]:
        """List the users who are logged in, each once, in the order in which they logged in as far as it is known.

        Since QEMU 2.10.
        """
        value: list[User] = await self._read("guest-get-users", {}, timeout)
        return value

    async def guest_get_timezone(self, *, timeout: float | None = None) -> Timezone:
        """Return the guest's time zone. Since QEMU 2.10."""
        value: Timezone = await self._read("guest-get-timezone", {}, timeout)
        return value

    async def guest_get_osinfo(self, *, timeout: float | None = None) -> OSInfo:
        """Say which operating system this is, from uname(2) and os-release(5). Since QEMU 2.10."""
        value: OSInfo = await self._read("guest-get-osinfo", {}, timeout)
        return value

    async def guest_get_time(self, *, timeout: float | None = None) -> int:
        """Return the guest's clock: nanoseconds since 1970 in UTC, to the microsecond. Since QEMU 1.5."""
        value: int = await self._ask("guest-get-time", {}, timeout)
        return value

    async def guest_set_time(self, time: int | None = None, *, timeout: float | None = None) -> None:
        """Set the guest's clock and the hardware clock.

        Without a time, the guest's clock is set from the hardware clock. If only the hardware clock cannot be set,
        that is just logged. Since QEMU 1.5.

        Args:
            time: Nanoseconds since 1970 in UTC. Unset: the time of the hardware clock.
        """
        await self._ask("guest-set-time", {"time": time}, timeout)

    async def run(
        self,
        argv: Iterable[str],
        *,
        input: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        capture_output: bool = True,
        check: bool = False,
        text: bool = False,
    ) -> Completed:
        """Run a program in the guest and wait for it, as ``subprocess.run``.

        ``env`` is its whole environment. After ``timeout`` seconds (none by default) it is killed, where the guest
        has kill(1), and AgentTimeout raised. Output beyond 16 MiB of a stream is lost: ``truncated`` says so.
        """
        from qga.client.operations.run import run

        return await self.carry_out(
            run(argv, input=input, env=env, timeout=timeout, capture_output=capture_output, check=check, text=text)
        )

    async def download(
        self,
        source: str,
        target: str | BinaryIO,
        *,
        dir_fd: int | None = None,
        progress: Progress | None = None,
        resume: bool = False,
        verify: bool = True,
        preserve: bool = True,
        keep_setuid: bool = False,
        device: bool = False,
    ) -> Outcome:
        """Copy a file of the guest to this machine: to a path, or into a file that is open for writing bytes.

        ``progress`` is called as the copy grows. ``resume``: a copy that breaks leaves its part beside the target,
        and the next one goes on there. ``verify``: compare the hashes of both ends. ``preserve``: keep permissions
        and times; ``keep_setuid``: the setuid, setgid and sticky bits, too. ``dir_fd``: the target is a name in
        this open directory, and where that is a symbolic link it is replaced and not followed. ``device``: a block
        device is read, or written into, from its beginning on, where the one or the other path is of one.

        Raises OSError for this machine's files, ClientError for the rest.
        """
        from qga.client.operations.download import download

        return await self.carry_out(
            download(
                source,
                target,
                dir_fd=dir_fd,
                progress=progress,
                resume=resume,
                verify=verify,
                preserve=preserve,
                keep_setuid=keep_setuid,
                device=device,
            )
        )

    async def upload(
        self,
        source: str | BinaryIO,
        target: str,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        verify: bool = True,
        preserve: bool = True,
        keep_setuid: bool = False,
        device: bool = False,
        insecure: bool = False,
    ) -> Outcome:
        """Copy a file of this machine, a path or a file that is open for reading bytes, into the guest.

        The options are those of ``download``. Where the guest runs no programs, nobody can say what the target's
        mode is or set it, and who may change a directory on the way decides where that leads. That is refused with
        a ClientError, before anything is written; with ``insecure`` the target is written in place, and a note says
        so.
        """
        from qga.client.operations.copy import upload

        return await self.carry_out(
            upload(
                source,
                target,
                progress=progress,
                resume=resume,
                verify=verify,
                preserve=preserve,
                keep_setuid=keep_setuid,
                device=device,
                insecure=insecure,
            )
        )

    async def list_tree(self, path: str) -> list[TreeEntry]:
        """List a directory of the guest and all below it.

        The first entry is the directory itself, also where ``path`` is a symbolic link to it; every other entry
        comes after the directory that it is in. Links below it are listed, and not followed.

        The guest must have a sh, and find(1) with -printf or else stat(1) and readlink(1). Raises ClientError where
        that fails, where ``path`` is not a directory, for a list that is not a tree's, and for one of more than 16
        MiB or 500,000 entries.
        """
        from qga.client.operations.listing import list_tree

        return await self.carry_out(list_tree(path))
