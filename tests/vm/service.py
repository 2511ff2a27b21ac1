"""The systemd service of the agent in a guest."""

from __future__ import annotations

from tests.vm.guest import Guest

SERVICE = "qemu-ga.service"


def pid(guest: Guest) -> str:
    return guest.check(f"systemctl show -P MainPID {SERVICE}").strip()


def answers(guest: Guest, timeout: float = 30) -> bool:
    """Return whether the agent answers a host that has just connected."""
    with guest.peer(timeout=timeout) as peer:
        peer.sync()
        return bool(peer.call("guest-ping") == {})


def settle(guest: Guest, seconds: int = 1) -> None:
    """Return once the agent has been idle for that long."""
    woken = wake_ups(guest)
    guest.check(f'while now=$({woken}); [ "$now" != "$last" ]; do last=$now; sleep {seconds}; done')


def sleeps(guest: Guest) -> bool:
    """Whether it is woken at most once in three seconds: it feeds systemd's watchdog twice a minute.

    First it may finish what it was doing: after large requests it gives back memory a little later.
    """
    settle(guest, 3)
    woken = wake_ups(guest)
    before, after = guest.check(f"{woken}; sleep 3; {woken}").split()
    return int(after) - int(before) <= 1


def wake_ups(guest: Guest) -> str:
    """A shell command that prints how often the agent has gone to sleep: proc(5)."""
    return f"awk '/^voluntary_ctxt/ {{print $2}}' /proc/{pid(guest)}/status"
