"""Builds the Debian guests of the tests: a root disk, and the kernel and initramfs to boot it with.

    python -m tests.vm.image        build it, or find it in the cache, and print where it is

Nothing of qga is in it: see prepare.py for that. The cache key is the text of the two files that decide the
image's content, so a changed recipe is a new image, and an unchanged one costs nothing.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.repository import REPOSITORY

HERE = Path(__file__).parent

RELEASE = "bookworm"
DISK_SIZE = "4G"
ROOT_LABEL = "qga-root"
SWAP_LABEL = "qga-swap"

# What a machine needs to build and run the guest: program → Debian package.
HOST_PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "mkswap": "util-linux",
    "setpriv": "util-linux",
    **({} if os.geteuid() == 0 else {"fakeroot": "fakeroot"}),
}

PACKAGES = """
    btrfs-progs dbus dosfstools e2fsprogs fdisk initramfs-tools iproute2 kmod linux-image-amd64 lvm2 mdadm
    pm-utils procps python3 python3-pip python3-venv qemu-guest-agent systemd-sysv tzdata udev util-linux
    util-linux-extra xfsprogs
""".split()  # noqa: SIM905

FURTHER = {"trixie": ["cloud-init"]}  # packages of one release

# Files of the guest: path → content.
FILES = {
    # Only what leads to the root disk; everything else is loaded by udev from the root file system.
    "etc/initramfs-tools/conf.d/qga": "MODULES=list\nBUSYBOX=n\nKEYMAP=n\nCOMPRESS=gzip\nRESUME=auto\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
    "etc/hostname": "qga-guest\n",
    "etc/hosts": "127.0.0.1 localhost qga-guest\n",
    "etc/machine-id": "71676171676171676171676171676171\n",
    "etc/fstab": f"LABEL={ROOT_LABEL} / ext4 noatime 0 0\nLABEL={SWAP_LABEL} none swap nofail 0 0\n",
    "etc/systemd/system/qga-control-shell.service": """\
[Unit]
Description=Control shell of the test harness
DefaultDependencies=no
After=systemd-remount-fs.service systemd-udev-trigger.service
[Service]
ExecStart=/usr/bin/python3 -I /usr/local/lib/qga/control_shell.py
Restart=always
RestartSec=500ms
StartLimitIntervalSec=0
OOMScoreAdjust=-900
[Install]
WantedBy=multi-user.target
""",
}

MASKED_UNITS = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer getty@tty1.service logrotate.timer lvm2-monitor.service mdadm-shutdown.service
    mdcheck_continue.timer mdcheck_start.timer mdmonitor-oneshot.timer mdmonitor.service
    serial-getty@ttyS0.service systemd-pstore.service systemd-timesyncd.service
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Image:
    """A root disk (qcow2, never written to: a guest writes to an overlay) and what boots it."""

    disk: Path
    kernel: Path
    initrd: Path
    key: str


def missing_programs() -> str:
    """One line that says what to install, or nothing."""
    packages = {package for program, package in HOST_PROGRAMS.items() if not find_program(program)}
    return f"the test guest needs: apt-get install {' '.join(sorted(packages))}" if packages else ""


def find_program(name: str) -> str | None:
    """mke2fs and mkswap are in /sbin, which an ordinary user's PATH lacks."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def say(text: str) -> None:
    """Print progress; pytest shows it when a test fails."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, stdin: str | None = None) -> None:
    """Run a program; its output is shown only when it fails."""
    program = find_program(str(command[0])) or command[0]
    done = subprocess.run([program, *command[1:]], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-6000:]}")


def cache_directory() -> Path:
    directory = Path(os.environ.get("QGA_VM_CACHE") or REPOSITORY / "build" / "vm").resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def cached(name: str) -> Iterator[tuple[Path, Path | None]]:
    """(cache entry, directory to fill or None when the entry is there); one process at a time for each.

    What was filled becomes the entry in one step, when the block ends without an exception.
    """
    cache = cache_directory()
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entry = cache / name
        if entry.exists():
            yield entry, None
            return
        with tempfile.TemporaryDirectory(prefix="new-", dir=cache) as scratch:
            filling = Path(scratch) / name
            filling.mkdir()
            yield entry, filling
            filling.rename(entry)


def build(release: str = RELEASE) -> Image:
    """The base image of a release of Debian, from the cache if it is there."""
    recipe = b"".join((HERE / name).read_bytes() for name in ("image.py", "control_shell.py"))
    key = hashlib.sha256(recipe + release.encode()).hexdigest()[:16]
    with cached(f"base-{key}") as (entry, filling):
        if filling:
            fill(filling, release)
    return Image(entry / "root.qcow2", entry / "vmlinuz", entry / "initrd.img", key)


def fill(directory: Path, release: str) -> None:
    with tempfile.TemporaryDirectory(prefix="build-", dir=directory.parent) as scratch:
        tar, tree, raw = Path(scratch, "root.tar"), Path(scratch, "tree"), Path(scratch, "root.raw")
        files, sources = Path(scratch, "files"), debian_sources(release)
        write_files(files)
        say(f"fetching and installing the packages of Debian {release} with mmdebstrap: one or two minutes")
        run(
            "mmdebstrap",
            "--mode=auto",
            "--variant=apt",
            f"--include={','.join([*PACKAGES, *FURTHER.get(release, [])])}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--essential-hook=sync-in {files} /",  # before the kernel's package makes the initramfs
            '--customize-hook=chroot "$1" systemctl --quiet enable qga-control-shell.service',
            f'--customize-hook=chroot "$1" systemctl --quiet mask {" ".join(MASKED_UNITS)}',
            release,
            tar,
            *(["-"] if sources else []),
            stdin=sources,
        )
        say("making the root disk of it with mke2fs and qemu-img")
        tree.mkdir()
        # mke2fs takes owners and modes from the tree: an ordinary user needs fakeroot to keep them.
        script = 'tar -xf "$1" -C "$2" --numeric-owner && mke2fs -q -t ext4 -L "$3" -E "$4" -d "$2" "$5" "$6"'
        options = "lazy_itable_init=0,lazy_journal_init=0"  # else the guest's kernel writes them in the background
        shell = ["sh"] if os.geteuid() == 0 else ["fakeroot", "sh"]
        os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
        run(*shell, "-c", script, "sh", tar, tree, ROOT_LABEL, options, raw, DISK_SIZE)
        run("qemu-img", "convert", "-O", "qcow2", raw, directory / "root.qcow2")
        for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd.img")):
            (boot_file,) = tree.glob(f"boot/{pattern}")
            shutil.copy(boot_file, directory / name)


def write_files(root: Path) -> None:
    """The guest's own files, as a tree to be copied over its root."""
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    program = root / "usr/local/lib/qga/control_shell.py"
    program.parent.mkdir(parents=True)
    shutil.copy(HERE / "control_shell.py", program)


def debian_sources(release: str) -> str:
    """The host's own apt sources for Debian, of this release, in one-line form; empty if the host has none.

    A host that has a mirror near it builds the guest from there, too; otherwise mmdebstrap takes its default mirror.
    """
    entries: list[str] = []
    directory = Path("/etc/apt/sources.list.d")
    for path in (Path("/etc/apt/sources.list"), *sorted(directory.glob("*.list"))):
        for line in path.read_text().splitlines() if path.exists() else ():
            found = re.match(r"deb\s+(?:\[[^]]*]\s+)?(\S+)\s+(\S+)\s+(.+)", line)
            if found:
                entries += debian_entry([found[1]], [found[2]], found[3], release)
    for path in sorted(directory.glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"(?m)^([A-Za-z-]+):[ \t]*(.*)$", paragraph))
            if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
                entries += debian_entry(
                    fields["URIs"].split(), fields["Suites"].split(), fields.get("Components", ""), release
                )
    return "".join(entries)


def debian_entry(uris: list[str], suites: list[str], components: str, release: str) -> list[str]:
    kinds = [found[1] for suite in suites if (found := re.fullmatch("[a-z]+((?:-updates|-security)?)", suite))]
    return [
        f"deb {uri} {release}{kind} {components}\n"
        for uri in uris
        for kind in kinds
        if re.search(r"/debian(-security)?/?$", uri)
    ]


if __name__ == "__main__":
    if complaint := missing_programs():
        sys.exit(complaint)
    say("the guest's base image: building it, or finding it in the cache")
    print(build().disk.parent)
