"""Checks of the channel: whether the port exists, which process holds it, and whether a host is connected.

The rule it keeps: a port that a process holds is never opened, and no byte is read from any port.
"""

from __future__ import annotations

import os
import re
import select
import stat
from collections.abc import Iterator

from qga.agent.linux import udevrules
from qga.agent.linux.host import Host
from qga.agent.linux.ports import find_port
from qga.agent.selftest.finding import Finding, Subject, ok, problem, warning
from qga.agent.selftest.service import SERVICE

_DRIVER = "/sys/bus/virtio/drivers/virtio_console"
_DEBUG = "/sys/kernel/debug/virtio-ports"  # linux/drivers/char/virtio_console.c
_LINKS = "/dev/virtio-ports/"
RULES = "61-qemu-ga.rules"


def kernel_and_udev(subject: Subject) -> Iterator[Finding]:
    """Check the driver of the port, and the udev rule that starts the agent."""
    host = subject.host
    if subject.config.method == "virtio-serial":
        if os.path.isdir(host.path(_DRIVER)):
            yield ok("the kernel has the driver virtio_console")
        else:
            yield problem("the kernel has no driver virtio_console", "modprobe virtio_console")
    if not os.path.exists(host.path("/run/udev/control")):
        yield warning("udev does not run", "without it the agent is not started when the port appears")
    elif subject.config.method == "virtio-serial" and (subject.config.path or "").startswith(_LINKS):
        yield _started_by_udev(host, str(subject.config.path).removeprefix(_LINKS))


def _started_by_udev(host: Host, name: str) -> Finding:
    """Report which service udev's rules start with the port."""
    others = [start for start in udevrules.starts(host, name) if not _starts_us(host, start.service)]
    ours = [start for start in udevrules.starts(host, name) if _starts_us(host, start.service)]
    if ours and not others:
        return ok(f"udev starts {ours[0].service} with the port ({ours[0].place})")
    if not others:
        return warning("udev has no rule that starts the agent with its port", f"link {RULES} to /etc/udev/rules.d")
    other = others[-1]
    todo = f"a rule that sorts after it decides: link {RULES} to /etc/udev/rules.d, and udevadm control --reload"
    if ours:
        text = f"udev starts {other.service} with the port as well ({other.place})"
        return warning(text, f"systemctl mask {other.service}")
    return problem(f"udev starts {other.service} with the port, not this agent ({other.place})", todo)


def _starts_us(host: Host, service: str) -> bool:
    """Return whether a service is this agent's, by its own name or by a name that links to it."""
    alias = host.path(f"/etc/systemd/system/{service}")
    return SERVICE in (service, os.path.basename(os.readlink(alias)) if os.path.islink(alias) else "")


def port(subject: Subject) -> Iterator[Finding]:
    """Check the port of virtio-serial or isa-serial, or whether the socket exists."""
    host, config = subject.host, subject.config
    if config.path is None or config.method == "vsock-listen":
        yield ok(f"{config.method} {config.path or '(a socket of systemd)'} is not checked")
        return
    path = find_port(host, config.path)
    if not os.path.exists(host.path(path)):
        todo = "give the guest a virtio-serial port of that name (libvirt: <channel>)"
        if config.method != "virtio-serial":
            todo = "start the agent" if config.method == "unix-listen" else "name the device with 'path'"
        yield problem(f"{config.path} does not exist", todo)
        return
    if path != config.path:
        yield warning(f"udev has not created the link {config.path}, {path} is used instead", "check that udev runs")
    if config.method == "unix-listen":
        yield ok(f"{path} exists")
        return
    device = os.path.realpath(host.path(path))
    holders = _holders(host, device)
    if not holders:
        yield _unheld(device)
    for pid, program in holders:
        if _is_ours(program):
            yield ok(f"{device} is held by process {pid}: {program}")
        else:
            todo = "only one agent can hold the port: stop and mask the service of the other one"
            yield problem(f"{device} is held by process {pid}, which is another program: {program}", todo)
    if config.method == "virtio-serial":
        mode = stat.S_IMODE(os.stat(host.path(path)).st_mode)
        if mode & 0o077:
            yield warning(
                f"users other than its owner can open {device} (mode {mode:04o}): they could answer the host",
                f"remove udev rules that set GROUP or MODE of virtio-ports; chmod 600 {device}",
            )
        yield _connected(host, device, held=bool(holders))


def _unheld(device: str) -> Finding:
    if os.geteuid() != 0:
        return warning(f"{device} exists; only root can see which process holds it", "run the self-test as root")
    return problem(f"{device} exists, and no process holds it", "systemctl start qemu-ga.service")


def _connected(host: Host, device: str, *, held: bool) -> Finding:
    name = os.path.basename(device)
    try:
        text = host.read(f"{_DEBUG}/{name}")
    except OSError:
        text = ""
    state = re.search(r"host_connected: (\d)", text)
    if state is not None:
        connected = state[1] == "1"
    elif held:
        return ok("it is not known whether a host is connected: the agent holds the port, and debugfs is not mounted")
    else:
        try:
            connected = not _hung_up(device)
        except OSError as error:
            return warning(f"{device} cannot be opened: {error.strerror}", "run the self-test as root")
    return ok("a host is connected") if connected else ok("no host is connected now")


def _hung_up(device: str) -> bool:
    descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        poll = select.poll()
        poll.register(descriptor, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))
    finally:
        os.close(descriptor)


def _holders(host: Host, device: str) -> list[tuple[int, str]]:
    """Return pid and command line of each process that has a device open, as far as this process may see them."""
    found = []
    for pid in sorted(int(name) for name in os.listdir(host.path("/proc")) if name.isdecimal()):
        directory = host.path(f"/proc/{pid}/fd")
        try:
            targets = {os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}
        except OSError:  # the process has ended, or access is denied
            continue
        if device in targets and pid != os.getpid():
            found.append((pid, _program(host, pid)))
    return found


def _program(host: Host, pid: int) -> str:
    try:
        return host.read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    except OSError:
        return "?"


def _is_ours(program: str) -> bool:
    """Return whether a command line is this agent's, a Python program; QEMU's own agent has the same name."""
    first, *rest = program.split(" ") or [""]
    return "python" in os.path.basename(first) and any("qemu-ga" in word or "qga" in word for word in rest)
