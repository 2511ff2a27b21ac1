"""Both agents over virtio-serial, side by side in the test guest: as users run them, except for the emulation."""

from __future__ import annotations

import socket
import time

from tests.bench.client import Client, request
from tests.bench.report import Result
from tests.bench.rows import IN_GUEST
from tests.bench.timing import timed
from tests.vm.guest import AGENT_PORT, REFERENCE_PORT, Guest
from tests.vm.image import missing_programs
from tests.vm.interesting import REFERENCE_UNIT, start_reference
from tests.vm.prepare import prepare

PINGS = 2000  # for the processor time, which is counted in hundredths of a second
IDLE = 10  # seconds


class GuestClient(Client):
    """A client at a port of the guest; its files are in the guest's memory."""

    def __init__(self, guest: Guest, port: str) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(guest.port(port)))
        directory = f"/dev/shm/{port}"
        guest.check(f"mkdir -p {directory}")
        super().__init__(sock, directory)
        self._guest = guest

    def make_file(self, path: str, size: int) -> None:
        self._guest.check(f"head -c {size} /dev/urandom > {path}")


def results(rounds: int) -> list[Result]:
    """Return the results; none, after printing why, where this machine cannot run the guest."""
    if complaint := missing_programs():
        print(f"no guest: {complaint}")
        return []
    with Guest(prepare()) as guest:
        guest.boot()
        start_reference(guest)
        units = "qemu-ga.service", REFERENCE_UNIT
        absent = _wake_ups(guest, units)
        ours, theirs = GuestClient(guest, AGENT_PORT), GuestClient(guest, REFERENCE_PORT)
        found = timed(IN_GUEST, ours, theirs, None, rounds)
        spent = [_processor_time(guest, unit, client) for unit, client in zip(units, (ours, theirs), strict=True)]
        found.append(Result("processor time of a ping in a guest", spent[0], spent[1], "s", target=1 / 1.2))
        connected = _wake_ups(guest, units)
        ours.close()
        theirs.close()
    found.append(Result("wake-ups a second in a guest, no host connected", *absent, "/s", note="0"))
    found.append(Result("wake-ups a second in a guest, host connected", *connected, "/s", note="0"))
    return found


def _processor_time(guest: Guest, unit: str, client: Client) -> float:
    """Return the processor seconds that one ping takes."""
    before = _stat(guest, unit)
    for _ in range(PINGS):
        client.exchange(request("guest-ping"))
    return (_stat(guest, unit) - before) / PINGS


def _stat(guest: Guest, unit: str) -> float:
    """Return the processor seconds that the unit has used: proc_pid_stat(5)."""
    fields = guest.check(f"cat /proc/{_pid(guest, unit)}/stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / int(guest.check("getconf CLK_TCK"))


def _wake_ups(guest: Guest, units: tuple[str, str]) -> tuple[float, float]:
    """A second, while they are left alone: proc_pid_status(5), voluntary_ctxt_switches."""
    before = [_switches(guest, unit) for unit in units]
    time.sleep(IDLE)
    ours, theirs = ((_switches(guest, unit) - old) / IDLE for unit, old in zip(units, before, strict=True))
    return ours, theirs


def _switches(guest: Guest, unit: str) -> int:
    return int(guest.check(f"awk '/^voluntary/ {{ print $2 }}' /proc/{_pid(guest, unit)}/status"))


def _pid(guest: Guest, unit: str) -> str:
    return guest.check(f"systemctl show -P MainPID {unit}").strip()
