"""One test guest: owns its QEMU process, its disks' overlays and its sockets, and leaves none of them behind.

The base image is never written to. QEMU is killed with the guest's `close`, and by the kernel should the process
(strictly, the thread) that started it die first.
"""

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.lines import Closed, Lines
from tests.vm.accelerator import accelerator
from tests.vm.image import ROOT_LABEL, SWAP_LABEL, Image, find_program, run
from tests.vm.peer import Peer
from tests.vm.qmp import Qmp

AGENT_PORT = "org.qemu.guest_agent.0"
REFERENCE_PORT = "org.qga.test.reference"
SHELL_PORT = "org.qga.test.shell"

BOOT_TIMEOUTS = (
    120.0,
    240.0,
    360.0,
)  # seconds, a try each; a boot takes about 16 where two processors are free for it
SWAP_SIZE = 2 << 30  # sparse: a hibernating guest writes what it uses

# Sleep states are disabled by default in newer machine types; the device that has the switch depends on the board.
# "pc" is the default: a q35 board of QEMU 7.2 loses its power management registers at the first wake-up from RAM,
# so that a second suspend in the same boot returns at once, with success, and without having slept.
POWER_DEVICE = {"q35": "ICH9-LPC", "pc": "PIIX4_PM"}


class GuestError(Exception):
    """The guest did not do what was waited for; the text ends with its console's last lines."""


class GuestTimeout(GuestError):  # noqa: N818
    """The guest did not report a failure either: it may be slow, or hang."""


@dataclass(frozen=True)
class Disk:
    """A further disk. `device` is QEMU's name and options without the drive: `virtio-blk-pci,serial=x`."""

    device: str
    size: int = 256 << 20
    path: Path | None = None  # an existing raw image, attached read-only


class Guest:
    """Use as a context manager. `start` again after the machine has stopped goes on with the same disks."""

    def __init__(
        self,
        image: Image,
        *,
        swap: bool = True,
        machine: str = "pc",
        memory: int | str = 1024,
        cpus: str = "2",
        ports: Sequence[str] = (),
        disks: Sequence[Disk] = (),
        args: Sequence[str] = (),
        append: str = "",
    ) -> None:
        self.image = image
        self.directory = Path(tempfile.mkdtemp(prefix="qga-vm-"))  # short: a socket's path has 107 bytes
        self.console_log = self.directory / "console.log"
        self._options = {"machine": machine, "memory": str(memory), "cpus": cpus, "append": append}
        self._ports = (AGENT_PORT, REFERENCE_PORT, SHELL_PORT, *ports)
        self._swap, self._disks, self._args = swap, disks, args
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._shell: Lines | None = None
        self._replies: dict[int, tuple[int, str]] = {}
        self._ids = itertools.count(int(time.time()) << 8)  # unlike those of any other guest object
        try:
            self._make_disks()
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Life of the machine

    def start(self) -> None:
        """Start QEMU on the guest's disks; does not wait for the boot."""
        if self._process:
            raise RuntimeError("the guest is running")
        with open(self.directory / "qemu.log", "ab") as log:
            self._process = subprocess.Popen(
                # SIGKILL when this thread is gone; setpriv execs, so the process id is QEMU's.
                [find_program("setpriv") or "setpriv", "--pdeathsig", "KILL", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the harness must not reach it before the harness is done
            )
        deadline = time.monotonic() + 30
        while not self._qmp:
            try:
                self._qmp = Qmp(self.directory / "qmp")
            except (FileNotFoundError, ConnectionRefusedError, Closed):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise self._error("QEMU did not start") from None
                time.sleep(0.02)
        self._shell = Lines.connect(self.port(SHELL_PORT))

    def wait_boot(self, timeout: float = BOOT_TIMEOUTS[0]) -> None:
        """Wait until the control shell answers and systemd has started what it starts at boot."""
        self.check("systemctl is-system-running --wait || { systemctl --failed; exit 1; }", timeout=timeout)

    def boot(self) -> None:
        """Start and wait, and where that takes too long try again, with more time.

        An emulated processor sometimes locks up in its first seconds, and a busy machine may be slow: neither says
        anything of the agent. A boot that ends otherwise with a failed unit does, and is not tried again.
        """
        *tries, last = BOOT_TIMEOUTS
        for timeout in tries:
            self.start()
            try:
                self.wait_boot(timeout)
                return
            except GuestError as error:
                if not isinstance(error, GuestTimeout) and not re.search("stall|lockup", self.console(400)):
                    raise
                self.kill()
        self.start()
        self.wait_boot(last)

    def wait_exit(self, timeout: float = 120) -> int:
        """QEMU's exit status, once the guest has powered itself off or gone to disk."""
        if not self._process:
            raise RuntimeError("the guest is not running")
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._timeout(f"QEMU still runs after {timeout:g} s") from None
        self._forget()
        return status

    def shutdown(self, timeout: float = 120) -> None:
        """Power off cleanly, so that the disks can be kept."""
        self.shell_start("systemctl poweroff")
        self.wait_exit(timeout)

    def kill(self) -> None:
        """Cut the power."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._forget()

    def is_sound(self) -> bool:
        """Return whether the guest is up: systemd has finished booting and the agent answers."""
        if not self._process:
            return False
        try:
            self.check("systemctl is-system-running && systemctl is-active qemu-ga.service")
            with self.peer() as peer:
                peer.sync()
        except (GuestError, TimeoutError, Closed):
            return False
        return True

    def has_died(self) -> bool:
        """Return whether QEMU has ended by itself, as it does where the guest resets."""
        return self._process is not None and self._process.poll() is not None

    def has_locked_up(self, timeout: float = 60) -> bool:
        """Return whether the guest runs, and even its control shell does not answer for ``timeout`` seconds."""
        if not self._process or self.query_status() != "running":
            return False
        try:
            self.shell("true", timeout)
        except GuestTimeout:
            return True
        return False

    def renew(self) -> None:
        """Pull the plug, and forget what was written to the disks."""
        self.kill()
        for path in self.directory.iterdir():
            path.unlink()
        self._make_disks()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Asking QEMU

    def qmp(self, command: str, /, **arguments: Any) -> Any:
        return self._connected_qmp().command(command, **arguments)

    def query_status(self) -> str:
        """QEMU's run state: running, suspended, shutdown …"""
        return str(self.qmp("query-status")["status"])

    def wait_event(self, name: str, timeout: float = 60) -> dict[str, Any]:
        try:
            return self._connected_qmp().wait_event(name, timeout)
        except (TimeoutError, Closed) as error:
            raise self._timeout(f"no event {name} within {timeout:g} s: {error}") from None

    def wakeup(self, timeout: float = 30) -> None:
        """Wake a guest that is suspended to RAM."""
        self.qmp("system_wakeup")
        self.wait_event("WAKEUP", timeout)

    # Running scripts in the guest without an agent

    def shell(self, script: str, timeout: float = 60) -> tuple[int, str]:
        """(exit status, stdout and stderr together) of a bash script run by root in the guest."""
        return self.shell_result(self.shell_start(script), timeout)

    def check(self, script: str, timeout: float = 60) -> str:
        """The output of a script that must succeed."""
        status, output = self.shell(script, timeout)
        if status != 0:
            raise self._error(f"exit status {status} of: {script}\n{output}")
        return output

    def shell_start(self, script: str) -> int:
        """Start a script and return at once: `shell_result` of the number fetches its result, in any order."""
        if not self._shell:
            raise RuntimeError("the guest is not running")
        number = next(self._ids)
        self._shell.send(json.dumps({"id": number, "script": script}).encode() + b"\n")
        return number

    def shell_result(self, number: int, timeout: float = 60) -> tuple[int, str]:
        deadline = time.monotonic() + timeout
        while number not in self._replies:
            if not self._shell:
                raise RuntimeError("the guest is not running")
            try:
                reply = json.loads(self._shell.read_line(deadline - time.monotonic()))
            except (TimeoutError, Closed) as error:
                raise self._timeout(f"the control shell did not answer within {timeout:g} s: {error}") from None
            output = base64.b64decode(reply["output"]).decode(errors="replace")
            self._replies[reply["id"]] = (reply["status"], output)
        return self._replies.pop(number)

    def boot_id(self) -> str:
        """Differs from one boot to the next, and not from a suspend to its wake-up."""
        return self.check("cat /proc/sys/kernel/random/boot_id").strip()

    # Asking an agent

    def port(self, name: str) -> Path:
        """The host's socket of a virtio-serial port."""
        return self.directory / name

    def peer(self, port: str = AGENT_PORT, timeout: float = 30) -> Peer:
        """A new client of an agent's port."""
        return Peer(self.port(port), timeout)

    def agent_version(self, timeout: float = 10) -> str:
        """The version that the agent behind the port reports; an empty text if none answers in time."""
        with self.peer(timeout=timeout) as peer:
            try:
                peer.sync()
                return str(peer.call("guest-info")["version"])
            except TimeoutError:
                return ""

    def console(self, lines: int = 40) -> str:
        """The end of the guest's console and of what QEMU said, for a failure's report."""
        text = ""
        for path in (self.console_log, self.directory / "qemu.log"):
            if path.exists():
                plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", path.read_text(errors="replace"))
                last = [line for line in plain.splitlines() if line.strip()][-lines:]
                text += "".join(f"{path.name}: {line}\n" for line in last)
        return text

    # Inner matters

    def _connected_qmp(self) -> Qmp:
        if not self._qmp:
            raise RuntimeError("the guest is not running")
        return self._qmp

    def _error(self, text: str) -> GuestError:
        return GuestError(f"{text}\n{self.console()}")

    def _timeout(self, text: str) -> GuestTimeout:
        return GuestTimeout(f"{text}\n{self.console()}")

    def _forget(self) -> None:
        for connection in (self._qmp, self._shell):
            if connection:
                connection.close()
        self._process = self._qmp = self._shell = None
        self._replies.clear()
        for name in ("qmp", *self._ports):
            (self.directory / name).unlink(missing_ok=True)

    def _make_disks(self) -> None:
        disk = self.directory / "root.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", self.image.disk, "-F", "qcow2", disk)
        sizes = {f"disk{number}": disk.size for number, disk in enumerate(self._disks) if not disk.path}
        if self._swap:
            sizes["swap"] = SWAP_SIZE
        for name, size in sizes.items():
            path = self.directory / f"{name}.raw"
            path.touch(mode=0o600)
            os.truncate(path, size)
        if self._swap:
            run("mkswap", "--label", SWAP_LABEL, self.directory / "swap.raw")

    def _command(self) -> list[str]:
        machine = self._options["machine"]
        power = POWER_DEVICE[machine]
        # Without the swap disk, neither the initramfs nor systemd shall wait for it.
        swap_line = f"resume=LABEL={SWAP_LABEL}" if self._swap else "noresume systemd.swap=0"
        kernel_line = f"root=LABEL={ROOT_LABEL} ro console=ttyS0 loglevel=5 panic=-1 {swap_line}"
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        command += ["-machine", machine, "-accel", accelerator(self.image.kernel)]
        command += ["-smp", self._options["cpus"], "-m", self._options["memory"]]
        command += ["-global", f"{power}.disable_s3=0", "-global", f"{power}.disable_s4=0"]
        command += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)]
        command += ["-append", f"{kernel_line} {self._options['append']}".strip()]
        command += ["-chardev", f"file,id=console,path={self.console_log},append=on", "-serial", "chardev:console"]
        command += ["-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"]
        command += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        for number, name in enumerate(self._ports):
            command += ["-chardev", f"socket,id=port{number},path={self.port(name)},server=on,wait=off"]
            command += ["-device", f"virtserialport,id=plug{number},chardev=port{number},name={name}"]
        command += self._drive("root", self.directory / "root.qcow2", "qcow2", "virtio-blk-pci")
        if self._swap:
            command += self._drive("swap", self.directory / "swap.raw", "raw", "virtio-blk-pci")
        command += self._args  # before the disks: one may be on a bus of theirs
        for number, disk in enumerate(self._disks):
            path, options = disk.path or self.directory / f"disk{number}.raw", ",read-only=on" if disk.path else ""
            command += self._drive(f"disk{number}", path, "raw" + options, disk.device)
        return command

    @staticmethod
    def _drive(name: str, path: Path, form: str, device: str) -> list[str]:
        drive = f"if=none,id={name},file={path},format={form},cache=unsafe,discard=unmap"
        return ["-drive", drive, "-device", f"{device},drive={name}"]
