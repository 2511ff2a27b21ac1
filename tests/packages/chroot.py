"""A root directory with a release of Debian, for what needs another system's files but no kernel of its own.

It sees this machine's processes and devices, and no /sys. Its mounts are in a mount namespace of each command's own.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.vm.image import cached, debian_sources, run, say

PACKAGES = ("init-system-helpers", "python3", "qemu-guest-agent", "udev")
FURTHER = {  # the modules that qga uses where they are there, in this release's versions
    "bullseye": ("python3-daemon", "python3-jsonschema", "python3-serial"),
    "bookworm": ("python3-daemon", "python3-fastjsonschema", "python3-jsonschema", "python3-serial"),
}
_ENTER = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


class Chroot:
    """``with Chroot("bullseye") as there:``; the tree is made once, and each of these is a copy of it."""

    def __init__(self, release: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="qga-root-"))  # short: a socket's path has 107 bytes
        run("tar", "-xf", tree_of(release), "-C", self.root, "--numeric-owner")
        self.prefix = ["unshare", "--mount", "--propagation=private", "sh", "-c", _ENTER, str(self.root)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        shutil.rmtree(self.root)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program there."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        return subprocess.run([*self.prefix, *words], capture_output=True, text=True, env=environment)

    def check(self, *words: str) -> str:
        """Return the output of a program that must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def files(self) -> set[str]:
        """Return every path of the tree but those of logs, caches and the package manager's own records."""
        ignored = ("var/log", "var/cache", "var/lib/dpkg", "root/.rpmdb", "tmp")
        paths = {str(path.relative_to(self.root)) for path in self.root.rglob("*")}
        return {path for path in paths if not path.startswith(ignored)}


def tree_of(release: str) -> Path:
    """Return the archive of a release's files, from the cache if it is there."""
    include, sources = ",".join([*PACKAGES, *FURTHER.get(release, ())]), debian_sources(release)
    key = hashlib.sha256(include.encode()).hexdigest()[:16]
    with cached(f"tree-{release}-{key}") as (entry, filling):
        if filling:
            say(f"fetching the packages of Debian {release} with mmdebstrap: one minute")
            target = filling / "root.tar"
            run(
                *("mmdebstrap", "--variant=apt", f"--include={include}", release, target),
                *(["-"] if sources else []),
                stdin=sources,
            )
    return entry / "root.tar"
