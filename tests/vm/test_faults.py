"""What happens to a guest whose agent, disk, host or clock fails, above all while its filesystems are frozen.

After each fault every filesystem takes writes again, and the agent answers. What needs no machine of its own is in
tests/agent/test_faults.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.until import until
from tests.vm.guest import AGENT_PORT, REFERENCE_PORT, Disk, Guest
from tests.vm.image import Image
from tests.vm.peer import AgentError, Peer

SERVICE = "qemu-ga.service"
CONFIG = "/etc/qemu/qemu-ga.conf"
DATA = "/srv/data"
EVERYTHING = ["/", DATA]
HOOKS = "/etc/qemu/hooks.d"

SETUP = f"""set -ex
udevadm wait --settle --timeout=60 /dev/vdb
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 -L data /dev/vdb
mkdir -p {DATA} {HOOKS} /var/lib/qga /etc/systemd/system/{SERVICE}.d
echo "LABEL=data {DATA} ext4 defaults 0 0" >>/etc/fstab
systemctl daemon-reload
mount {DATA}
printf '[Service]\\nWatchdogSec=5\\nRestartSec=100ms\\n' >/etc/systemd/system/{SERVICE}.d/test.conf
systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def guest(image: Image) -> Iterator[Guest]:
    with Guest(image, swap=False, disks=[Disk("virtio-blk-pci", size=256 << 20)]) as guest:
        guest.boot()
        guest.check(SETUP)
        yield guest


@pytest.fixture(autouse=True)
def _nothing_stays_frozen(guest: Guest) -> Iterator[None]:
    yield
    for mountpoint in EVERYTHING:
        guest.shell(f"fsfreeze -u {mountpoint}")


def configure(guest: Guest, **settings: object) -> None:
    """Restart the agent with these keys and with its state on the root filesystem, where it survives a boot."""
    lines = "".join(f"{key.replace('_', '-')}={value}\n" for key, value in settings.items())
    guest.check(
        f"printf '[general]\\nstatedir=/var/lib/qga\\nverbose=1\\n{lines}' >{CONFIG}; systemctl restart {SERVICE}"
    )


def synced(guest: Guest) -> Peer:
    """Return a client once an agent answers. Requests to an agent that is dying are lost."""
    peer = guest.peer(timeout=60)
    for _ in range(6):
        try:
            peer.sync(timeout=10)
        except TimeoutError:
            continue
        return peer
    peer.close()
    raise TimeoutError("the agent does not answer")


def pid(guest: Guest) -> str:
    return guest.check(f"systemctl show -P MainPID {SERVICE}").strip()


def kill(guest: Guest) -> None:
    guest.check(f"kill -KILL {pid(guest)}")


def writes(guest: Guest) -> None:
    """Assert that every filesystem accepts writes."""
    script = " && ".join(f"echo x >{mountpoint}/written && sync {mountpoint}/written" for mountpoint in EVERYTHING)
    guest.check(f"timeout 30 sh -c '{script}'", timeout=40)


def start_writer(guest: Guest) -> int:
    """Start a script that prints the guest's uptime once it has written to every filesystem."""
    script = "; ".join(f"echo x >{mountpoint}/late; sync {mountpoint}/late" for mountpoint in EVERYTHING)
    return guest.shell_start(f"{script}; cut -d' ' -f1 /proc/uptime")


def uptime(guest: Guest) -> float:
    return float(guest.check("cut -d' ' -f1 /proc/uptime"))


OVERDUE = r"was thawed early, at \S+Z: it had been frozen for \d+ s \(fsfreeze-timeout\)"


def test_root_with_log_state_and_pid_file_is_frozen_ten_times(guest: Guest) -> None:
    """An agent that has all its files on the frozen filesystem, and gets many requests while frozen."""
    files = "-f /var/lib/qga/second.pid -l /var/log/second.log -t /var/lib/second"
    guest.check(
        "mkdir -p /var/lib/second; systemd-run -q --unit second -p Type=forking -p PIDFile=/var/lib/qga/second.pid "
        f"/opt/qga/bin/qemu-ga -d -v {files} -p /dev/virtio-ports/{REFERENCE_PORT}"
    )
    with guest.peer(REFERENCE_PORT, timeout=60) as peer:
        peer.sync()
        for round_ in range(10):
            assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
            writer = start_writer(guest)
            for number in range(20):
                assert peer.call("guest-ping") == {}
                assert peer.call("guest-sync", id=number) == number
                with pytest.raises(AgentError, match="has been disabled"):
                    peer.call("guest-file-open", path=f"/var/log/{round_}")
            assert peer.call("guest-info")["version"]
            assert peer.call("guest-fsfreeze-status") == "frozen"
            assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING)
            assert guest.shell_result(writer)[0] == 0
    log = guest.check("cat /var/log/second.log")
    assert log.count("guest-fsfreeze-status called") == 10
    assert log.count("guest-ping called") == 200
    guest.check("systemctl stop second; test ! -e /var/lib/second/qga.state.isfrozen")


def test_freeze_that_is_never_thawed_ends_by_itself(guest: Guest) -> None:
    configure(guest, fsfreeze_timeout=4)
    with synced(guest) as peer:
        assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
        begun = uptime(guest)
    writer = start_writer(guest)
    status, written = guest.shell_result(writer)
    assert status == 0
    assert 2.5 < float(written) - begun < 20
    with synced(guest) as peer:
        assert peer.call("guest-fsfreeze-status") == "thawed"
        with pytest.raises(AgentError, match=OVERDUE):
            peer.call("guest-fsfreeze-thaw")
        assert peer.call("guest-fsfreeze-thaw") == 0
    assert "longer than fsfreeze-timeout allows" in guest.check(f"journalctl -q -u {SERVICE} -p err")


def test_killed_agent_thaws_at_the_deadline_of_its_freeze(guest: Guest) -> None:
    """It does not take another whole timeout after the restart."""
    configure(guest, fsfreeze_timeout=24)
    with synced(guest) as peer:
        assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
        begun = uptime(guest)
        writer = start_writer(guest)
        time.sleep(12)
        kill(guest)
    status, written = guest.shell_result(writer)
    assert status == 0
    assert 22 < float(written) - begun < 34


def test_killed_at_every_point_of_a_freeze(guest: Guest) -> None:
    """At a range of delays. The next agent thaws on request, and has called the hook that ran to thaw."""
    hook = f"{HOOKS}/10-slow"
    guest.check(f"printf '#!/bin/sh\\necho $1 >>/run/hook; sleep 0.3\\n' >{hook}; chmod 755 {hook}")
    configure(guest, fsfreeze_hook=HOOKS)
    frozen = 0
    for step in range(16):
        guest.check("rm -f /run/hook")
        with synced(guest) as peer:
            killer = guest.shell_start(f"sleep {step * 0.06}; kill -KILL {pid(guest)}")
            peer.request("guest-fsfreeze-freeze")
            guest.shell_result(killer)
        with synced(guest) as peer:
            if peer.call("guest-fsfreeze-status") == "frozen":
                frozen += 1
                assert peer.call("guest-fsfreeze-thaw") >= 0
            assert peer.call("guest-fsfreeze-status") == "thawed"
        writes(guest)
        hook_calls = guest.check("cat /run/hook 2>/dev/null || true").split()
        assert hook_calls.count("freeze") <= hook_calls.count("thaw")
    assert frozen >= 4
    guest.check(f"rm {hook}")


def test_stuck_agent_is_started_again_by_the_watchdog(guest: Guest) -> None:
    configure(guest)
    for state in ("thawed", "frozen"):
        with synced(guest) as peer:
            if state == "frozen":
                assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
        stuck = pid(guest)
        guest.check(f"kill -STOP {stuck}")
        with synced(guest) as peer:
            assert pid(guest) != stuck
            assert peer.call("guest-fsfreeze-status") == state
            peer.call("guest-fsfreeze-thaw")
        writes(guest)


def test_hook_that_hangs_with_its_children(guest: Guest) -> None:
    hook = f"{HOOKS}/20-hangs"
    guest.check(
        f"printf '#!/bin/sh\\necho waiting; sleep 1000 & test $1 = thaw || sleep 1001\\n' >{hook}; chmod 755 {hook}"
    )
    configure(guest, fsfreeze_hook=HOOKS, fsfreeze_hook_timeout=3)
    with synced(guest) as peer:
        begun = time.monotonic()
        with pytest.raises(AgentError, match=rf"{hook}: timed out after 3 s: waiting\n"):
            peer.call("guest-fsfreeze-freeze")
        assert time.monotonic() - begun < 20
        assert peer.call("guest-fsfreeze-status") == "thawed"
    assert guest.shell("pgrep -fx 'sleep 1001'")[0] == 1
    writes(guest)
    guest.check(f"rm {hook}; pkill -fx 'sleep 1000'")


def test_client_that_gives_up_on_a_slow_freeze_is_answered(guest: Guest) -> None:
    hook = f"{HOOKS}/30-slow"
    script = "#!/bin/sh\\ntest $1 = thaw || { touch /run/begun; sleep 5; }\\n"
    guest.check(f"printf '{script}' >{hook}; chmod 755 {hook}")
    configure(guest, fsfreeze_hook=HOOKS)
    with synced(guest) as peer:
        peer.request("guest-fsfreeze-freeze")
        guest.check("until test -e /run/begun; do sleep 0.1; done")
        begun = time.monotonic()
        peer.sync()
        assert peer.call("guest-fsfreeze-status") == "frozen"
        assert time.monotonic() - begun < 3
        assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING), "it waits for the freeze to end first"
        assert peer.call("guest-fsfreeze-status") == "thawed"
    writes(guest)
    guest.check(f"rm {hook}")


def test_port_that_is_unplugged_while_frozen(guest: Guest) -> None:
    configure(guest)
    with synced(guest) as peer:
        assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
    guest.qmp("device_del", id="plug0")
    guest.wait_event("DEVICE_DELETED")
    writes(guest)
    guest.qmp("device_add", driver="virtserialport", id="plug0", chardev="port0", name=AGENT_PORT)
    with synced(guest) as peer:
        assert peer.call("guest-fsfreeze-status") == "thawed"
        with pytest.raises(AgentError, match="the agent was stopped while it was frozen"):
            peer.call("guest-fsfreeze-thaw")


def second_agent(guest: Guest, statedir: str) -> None:
    """Start a second agent on its own port, until the unit ``second`` is stopped."""
    program = f"/opt/qga/bin/qemu-ga -t {statedir} -p /dev/virtio-ports/{REFERENCE_PORT}"
    guest.check(f"systemd-run -q --unit second -p Type=notify {program}")


SPOILT = {
    "full": "head -c 10M /dev/zero >{0}/full || true",
    "read-only": "mount -o remount,ro {0}",
    "gone": "umount {0}; rmdir {0}",
}


@pytest.mark.parametrize("how", SPOILT)
def test_damaged_state_directory(guest: Guest, how: str) -> None:
    """No file can be opened, as a handle might be given twice. Everything else works."""
    statedir = "/run/small"
    guest.check(f"mkdir -p {statedir}; mount -t tmpfs -o size=64k tmpfs {statedir}; {SPOILT[how].format(statedir)}")
    second_agent(guest, statedir)
    with guest.peer(REFERENCE_PORT, timeout=60) as peer:
        peer.sync()
        with pytest.raises(AgentError, match="failed to commit persistent state to disk"):
            peer.call("guest-file-open", path="/etc/hostname")
        assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
        assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING)
        assert peer.call("guest-get-host-name")
    guest.check(f"systemctl stop second; umount {statedir} || true")
    writes(guest)


def test_fork_fails(guest: Guest) -> None:
    """TasksMax allows the agent's process only. What was frozen earlier is still thawed."""
    guest.check("mkdir -p /run/second")
    second_agent(guest, "/run/second")
    with guest.peer(REFERENCE_PORT, timeout=60) as peer:
        peer.sync()
        assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
        guest.check("systemctl set-property --runtime second TasksMax=1")
        assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING)
        for name in ("guest-fstrim", "guest-fsfreeze-freeze", "guest-set-time"):
            with pytest.raises(AgentError, match="Resource temporarily unavailable"):
                peer.call(name)
        with pytest.raises(AgentError, match="Resource temporarily unavailable"):
            peer.call("guest-exec", path="/bin/true")
        assert peer.call("guest-fsfreeze-status") == "thawed"
        guest.check("systemctl set-property --runtime second TasksMax=infinity")
        assert peer.call("guest-fstrim")["paths"]
    guest.check("systemctl stop second")
    writes(guest)


NESTED = f"""set -ex
mkdir -p /run/nested/lower /run/nested/overlay /run/nested/inner {DATA}/upper {DATA}/work
cd /run/nested
mount -t overlay -o lowerdir=lower,upperdir={DATA}/upper,workdir={DATA}/work overlay overlay
truncate -s 32M overlay/image
mkfs.ext4 -q overlay/image
mount -o loop overlay/image inner
dd if=/dev/urandom of=inner/dirty bs=1M count=8 status=none
"""


def test_filesystem_in_a_file_of_an_overlay(guest: Guest) -> None:
    """Frozen after the one that the overlay's upper directory lies in, it would wait for that to be thawed."""
    guest.check(NESTED)
    configure(guest, fsfreeze_timeout=20)
    inner = "/run/nested/inner"
    with synced(guest) as peer:
        for wanted in ([DATA, inner], [inner, DATA]):
            assert peer.call("guest-fsfreeze-freeze-list", mountpoints=wanted) == 2
            assert peer.call("guest-fsfreeze-thaw") == 2
        assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING) + 1
        assert peer.call("guest-fsfreeze-thaw") == len(EVERYTHING) + 1
    writes(guest)
    guest.check(f"cd /run/nested; umount inner; umount overlay; rm -r {DATA}/upper {DATA}/work")


# A filesystem in a file of another, which is frozen and nowhere mounted any more, until /run/let-go is written to.
UNSEEN = """set -ex
mkdir -p /run/unseen/inner /run/unseen/outer /run/unseen/room
mount -t tmpfs tmpfs /run/unseen/room
cd /run/unseen
truncate -s 96M room/outer
mkfs.ext4 -q room/outer
mount -o loop room/outer outer
truncate -s 32M outer/inner
mkfs.ext4 -q outer/inner
mount -o loop outer/inner inner
dd if=/dev/urandom of=inner/dirty bs=1M count=8 status=none
mkfifo /run/let-go
exec 9<outer
fsfreeze -f outer
umount -l outer
(read line </run/let-go; fsfreeze -u /proc/self/fd/9) >/dev/null 2>&1 &
"""


def test_filesystem_that_hangs_in_its_freeze(guest: Guest) -> None:
    """It is named, everything else is thawed at the deadline, and it is thawed when the kernel answers."""
    guest.check(UNSEEN)
    inner = "/run/unseen/inner"
    try:
        configure(guest, fsfreeze_timeout=4)
        with synced(guest) as peer:
            begun = time.monotonic()
            with pytest.raises(AgentError, match=f"failed to freeze {inner}: no answer from the kernel within 4 s"):
                peer.call("guest-fsfreeze-freeze-list", mountpoints=[DATA, inner])
            assert time.monotonic() - begun < 25
            writes(guest)
            assert peer.call("guest-fsfreeze-status") == "frozen"
            assert peer.call("guest-ping") == {}
        kill(guest)
        with synced(guest) as peer:
            assert peer.call("guest-fsfreeze-status") == "frozen", "the next agent knows of it"
    finally:
        guest.check("echo >/run/let-go")
    with synced(guest) as peer:
        until(lambda: peer.call("guest-fsfreeze-status") == "thawed")
    guest.check(f"timeout 30 sh -c 'echo x >{inner}/written && sync {inner}/written'", timeout=40)
    guest.check("umount /run/unseen/inner; umount /run/unseen/room || true; rm /run/let-go")


def test_clock_that_jumps_by_years(guest: Guest) -> None:
    """The thaw is neither early nor late, as the deadline uses another clock. An idle agent is not affected."""
    configure(guest, fsfreeze_timeout=10)
    for year in ("+20 years", "-40 years"):
        with synced(guest) as peer:
            assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
            begun = uptime(guest)
            guest.check(f"date -s '{year}'")
            assert peer.call("guest-fsfreeze-status") == "frozen"
            status, written = guest.shell_result(start_writer(guest))
            assert status == 0
            assert 8 < float(written) - begun < 26
            with pytest.raises(AgentError, match=OVERDUE):
                peer.call("guest-fsfreeze-thaw")
    guest.check("date -s '+20 years'")


def test_power_cuts_while_frozen_and_while_handles_are_given(guest: Guest) -> None:
    """The marker lies on the disk: it must not freeze the agent of the next boot. No handle is given twice.

    And the host that goes on as if nothing had happened hears that the freeze did not hold.
    """
    configure(guest)
    given = 0
    for cut in range(3):
        with synced(guest) as peer:
            for _ in range(30):
                handle = peer.call("guest-file-open", path="/etc/hostname")
                assert handle > given
                given = handle
                peer.call("guest-file-close", handle=handle)
            if cut < 2:
                assert peer.call("guest-fsfreeze-freeze") == len(EVERYTHING)
            else:
                peer.request("guest-file-open", path="/etc/hostname")
            guest.qmp("quit")
        guest.wait_exit()
        guest.boot()
        with synced(guest) as peer:
            assert peer.call("guest-fsfreeze-status") == "thawed"
            if cut < 2:
                with pytest.raises(AgentError, match="the guest was restarted while it was frozen"):
                    peer.call("guest-fsfreeze-thaw")
            assert peer.call("guest-fsfreeze-thaw") == 0
        writes(guest)
