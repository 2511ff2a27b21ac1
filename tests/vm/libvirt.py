"""A private libvirt: a daemon that shares no directory with the one of this machine, and its guests."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.lines import Closed, Lines
from tests.vm.guest import AGENT_PORT, SHELL_PORT, Guest
from tests.vm.image import ROOT_LABEL, SWAP_LABEL, Image

DIRECTORIES = {"etc": "/etc/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt", "run": "/run/libvirt"}
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>1024</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>root=LABEL={root} resume=LABEL={swap} ro console=ttyS0 loglevel=5 panic=-1</cmdline>
  </os>
  <features><acpi/></features>
  <on_reboot>destroy</on_reboot>
  <pm>
    <suspend-to-mem enabled='yes'/>
    <suspend-to-disk enabled='yes'/>
  </pm>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe'/>
      <source file='{directory}/root.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='unsafe'/>
      <source file='{directory}/swap.raw'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='file'><source path='{directory}/console.log'/></serial>
    <channel type='unix'><target type='virtio' name='{agent}'/></channel>
    <channel type='unix'>
      <source mode='bind' path='{directory}/{shell}'/>
      <target type='virtio' name='{shell}'/>
    </channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""


class Libvirt:
    """A daemon, from ``with`` to the end. ``uri`` is its address."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="qga-libvirt-"))
        self.uri = f"qemu+unix:///system?socket={self.directory}/libvirt-sock"

    def __enter__(self) -> Libvirt:
        binds = []
        for name, path in DIRECTORIES.items():
            (self.directory / name).mkdir()
            binds.append(f"mkdir -p {path} && mount --bind {self.directory}/{name} {path}")
        (self.directory / "etc" / "qemu.conf").write_text(QEMU_CONF)
        conf = self.directory / "libvirtd.conf"
        conf.write_text(f'unix_sock_dir = "{self.directory}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n')
        binds.append(f"exec libvirtd -f {conf} -p {self.directory}/pid")
        words = ["unshare", "-m", "setpriv", "--pdeathsig", "KILL", "sh", "-c", " && ".join(binds)]
        with (self.directory / "log").open("wb") as log:
            self._daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while subprocess.run(self.words("version"), capture_output=True).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.directory / "log").read_text())
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.terminate()
        self._daemon.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)

    def words(self, *words: str) -> list[str]:
        return ["virsh", "-c", self.uri, *words]

    def virsh(self, *words: str, timeout: float = 120) -> str:
        """Run virsh and return its output. Raises AssertionError with its error message."""
        done = subprocess.run(self.words(*words), capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"virsh {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()


class Domain(Guest):
    """A guest that libvirt runs, transient; libvirt holds its agent's port and its monitor."""

    def __init__(self, image: Image, libvirt: Libvirt) -> None:
        super().__init__(image)
        self.name = self.directory.name
        self._libvirt = libvirt

    def start(self) -> None:
        places = {"directory": self.directory, "kernel": self.image.kernel, "initrd": self.image.initrd}
        names = {"name": self.name, "agent": AGENT_PORT, "shell": SHELL_PORT, "root": ROOT_LABEL, "swap": SWAP_LABEL}
        xml = self.directory / "domain.xml"
        xml.write_text(DOMAIN.format(**places, **names))
        self._libvirt.virsh("create", str(xml))
        deadline = time.monotonic() + 30
        while not self._shell:
            try:
                self._shell = Lines.connect(self.port(SHELL_PORT))
            except (FileNotFoundError, ConnectionRefusedError, Closed):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def wait_exit(self, timeout: float = 120) -> int:
        deadline = time.monotonic() + timeout
        while self.name in self._libvirt.virsh("list", "--name").split():
            if time.monotonic() > deadline:
                raise self._error(f"the domain still runs after {timeout:g} s")
            time.sleep(0.5)
        self._forget()
        return 0

    def kill(self) -> None:
        if self._shell:
            subprocess.run(self._libvirt.words("destroy", self.name), capture_output=True)
            self._forget()

    def virsh(self, command: str, *words: str, timeout: float = 120) -> str:
        return self._libvirt.virsh(command, self.name, *words, timeout=timeout)
