"""The agent of a guest, as the service of systemd that it is."""

from __future__ import annotations

from tests.vm.guest import Guest

SERVICE = "qemu-ga.service"


def pid(guest: Guest) -> str:
    return guest.check(f"systemctl show -P MainPID {SERVICE}").strip()


def answers(guest: Guest, timeout: float = 30) -> bool:
    """Whether it answers a host that has just come."""
    with guest.peer(timeout=timeout) as peer:
        peer.sync()
        return bool(peer.call("guest-ping") == {})


def settle(guest: Guest) -> None:
    """Return when the agent was not woken for a second: it has done what it had to, and waits."""
    woken = wake_ups(guest)
    guest.check(f'while now=$({woken}); [ "$now" != "$last" ]; do last=$now; sleep 1; done')


def wake_ups_in(guest: Guest, seconds: int) -> int:
    """How often it is woken, once it has settled."""
    settle(guest)
    woken = wake_ups(guest)
    before, after = guest.check(f"{woken}; sleep {seconds}; {woken}").split()
    return int(after) - int(before)


def wake_ups(guest: Guest) -> str:
    """A shell command that prints how often the agent has gone to sleep: proc(5)."""
    return f"awk '/^voluntary_ctxt/ {{print $2}}' /proc/{pid(guest)}/status"
