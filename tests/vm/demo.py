"""``make run-vm``: a real guest, driven by its host over virtio-serial: queried, put to sleep, woken, hibernated."""

from __future__ import annotations

import sys
import time

from tests.vm.accelerator import accelerator
from tests.vm.guest import Guest
from tests.vm.image import missing_programs
from tests.vm.prepare import prepare


def main() -> int:
    if complaint := missing_programs():
        sys.exit(complaint)
    say("Making the guest: Debian 12 with qga installed from its wheel (minutes the first time, then cached)")
    with Guest(prepare()) as guest:
        say(f"Booting it under qemu-system-x86_64 with {accelerator(guest.image.kernel)} (QGA_VM_ACCEL)")
        guest.boot()
        boot = guest.boot_id()
        print(
            "    " + guest.check("systemctl status --no-pager -n0 qemu-ga.service | head -3").strip().splitlines()[0]
        )
        with guest.peer(timeout=90) as peer:
            peer.sync()
            say("Synchronised on the chardev's socket; guest-ping → " + str(peer.call("guest-ping")))
            info = peer.call("guest-info")
            say(f"guest-info → interface {info['version']}, {len(info['supported_commands'])} commands")
            say("guest-suspend-ram (no reply on success)")
            peer.request("guest-suspend-ram")
            guest.wait_event("SUSPEND", 90)
            print(f"    query-status → {guest.query_status()}")
            time.sleep(2)
            say("system_wakeup")
            guest.wakeup()
            print(f"    query-status → {guest.query_status()}; guest-ping → {peer.call('guest-ping')}")
            say("guest-suspend-disk: QEMU exits")
            peer.request("guest-suspend-disk")
            print(f"    QEMU's exit status → {guest.wait_exit(120)}")
        say("Starting QEMU again on the same disks")
        guest.start()
        with guest.peer(timeout=120) as peer:
            peer.sync()
            say(f"guest-ping → {peer.call('guest-ping')}")
        same = guest.boot_id() == boot
        print(f"    boot_id {boot}: {'the same boot goes on' if same else 'it was another boot!'}")
        return 0 if same else 1


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
