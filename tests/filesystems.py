"""Real filesystems on loop devices, in a mount namespace of their own, for tests of what only the kernel can show.

A process in FIFREEZE or FITHAW cannot be ended. So nothing here waits for one without a bound, and a guard, started
before anything is frozen, thaws everything by descriptors that it has opened before: after a while, or at the end.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

from qga.agent.linux.host import Host, Outcome
from qga.agent.processes import begin

T = TypeVar("T")

ROOM = Path("/run")  # a directory that every machine has; in the namespace a tmpfs is mounted on it
SOON = 30.0  # seconds that anything may take
GUARD = 60  # seconds after which the guard thaws everything

_CLONE_NEWNS = 0x20000

_GUARD = f"""
import fcntl, os, select, sys
held = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
print(flush=True)
select.select([sys.stdin], [], [], {GUARD})
for descriptor in held:  # each in a process of its own: one may not answer
    if os.fork() == 0:
        for _ in range(100):
            try:
                while True:
                    fcntl.ioctl(descriptor, 0xC0045878, 0)
            except OSError:
                select.select([], [], [], 0.01)
        os._exit(0)
"""


def possible() -> bool:
    """Whether loop devices can be made here."""
    return os.geteuid() == 0 and os.path.exists("/dev/loop-control") and shutil.which("mke2fs") is not None


needs_loop = pytest.mark.skipif(not possible(), reason="only root can mount, and only where there are loop devices")


needs_btrfs = pytest.mark.skipif(
    shutil.which("mkfs.btrfs") is None or "btrfs" not in Path("/proc/filesystems").read_text(),
    reason="this kernel has no btrfs, or there is no btrfs-progs",
)


class Filesystems:
    """``with Filesystems() as machine:``; in the directory ``machine.at`` there is room for files and mounts."""

    def __enter__(self) -> Self:
        self.at = ROOM
        self._devices: list[str] = []
        self._guards: list[subprocess.Popen[bytes]] = []
        self._holder = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", "mount -t tmpfs tmpfs /run && echo && cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        ending = [*self._guards, self._holder]
        for process in ending:
            assert process.stdin is not None
            process.stdin.close()
        for device in self._devices:  # when it is not used any more
            subprocess.run(["losetup", "-d", device], check=False)
        for process in ending:
            assert process.stdout is not None
            process.stdout.close()
            process.wait(SOON)

    @property
    def prefix(self) -> list[str]:
        """The words that, before a program and its arguments, run it there, in the same process and directory."""
        return ["nsenter", "-t", str(self._holder.pid), "-m", "sh", "-c", 'cd "$0" && exec "$@"', os.getcwd()]

    def shell(self, script: str) -> str:
        done = subprocess.run(
            [*self.prefix, "sh", "-exc", script], capture_output=True, text=True, timeout=SOON, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def loop(self, file: str) -> str:
        """A loop device for a file."""
        self._devices.append(self.shell(f"losetup -f --show {file}").strip())
        return self._devices[-1]

    def ext4(self, name: str, file: str = "", size: str = "16M") -> str:
        """Create and mount an ext4 in ``file`` or on that device; return its mount point."""
        file, where = file or f"{self.at}/{name}.img", f"{self.at}/{name}"
        self.shell(f"[ -b {file} ] || truncate -s {size} {file}; mkdir {where}")
        self.shell(f"mke2fs -q -t ext4 -E lazy_itable_init=0 {file}")
        self.shell(f"mount {self.loop(file)} {where}")
        return where

    def btrfs(self, name: str) -> str:
        """Create a btrfs on one disk and return its device."""
        file, where = f"{self.at}/{name}.img", f"{self.at}/{name}"
        self.shell(f"truncate -s 128M {file}; mkfs.btrfs -q {file}")
        device = self.loop(file)
        self.shell(f"mkdir {where}; mount {device} {where}")
        return device

    def guard(self, *mountpoints: str) -> Callable[[], None]:
        """Guard mount points that a test will freeze; calling what is returned thaws them."""
        guard = subprocess.Popen(
            [*self.prefix, sys.executable, "-c", _GUARD, *mountpoints],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert guard.stdout is not None
        assert guard.stdout.readline() == b"\n"
        self._guards.append(guard)

        def end() -> None:
            assert guard.stdin is not None
            guard.stdin.close()

        return end

    def inside(self, work: Callable[[Host], T]) -> T:
        """The result of ``work``, which must suit marshal, in a process that sees these filesystems."""

        @contextmanager
        def there() -> Iterator[T]:
            namespace = os.open(f"/proc/{self._holder.pid}/ns/mnt", os.O_RDONLY)
            assert ctypes.CDLL(None).setns(namespace, _CLONE_NEWNS) == 0
            yield work(Host(run=_no_program, which=lambda name: None, begin=begin))

        call = begin(there)
        assert call.descriptor is not None
        assert select.select([call.descriptor], [], [], SOON)[0], "it takes too long"
        return call.answer()

    def frozen(self, mountpoint: str) -> bool:
        """Return whether it was frozen, which thaws it."""
        return subprocess.run([*self.prefix, "fsfreeze", "-u", mountpoint], check=False).returncode == 0


def _no_program(argv: object, *, stdin: bytes = b"", timeout: float = 0) -> Outcome:
    return Outcome(errno=2)
