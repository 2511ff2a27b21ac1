"""Installs qga in the test guest, as README tells a user to, and keeps the disk that results.

The wheel is built from the checkout and its dependencies are fetched for the guest's Python; both lie on a small disk
that the guest mounts. The cache key is their content and the base image's, so a run without changes costs nothing.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from tests.repository import REPOSITORY
from tests.vm.guest import Disk, Guest
from tests.vm.image import Image, build, cached, missing_programs, run, say

GUEST_PYTHON = ["--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux2014_x86_64"]
PAYLOAD_SIZE = "64M"

INSTALL = """set -ex
mkdir -p /mnt/payload
mount -o ro /dev/disk/by-label/qga-payload /mnt/payload
python3 -m venv /opt/qga
/opt/qga/bin/pip install --quiet --no-index --find-links /mnt/payload qga
systemd-sysusers /opt/qga/lib/sysusers.d/qemu-ga.conf
systemctl link /opt/qga/lib/systemd/system/qemu-ga.service
ln -s /opt/qga/lib/udev/rules.d/61-qemu-ga.rules /etc/udev/rules.d/
umount /mnt/payload
udevadm control --reload
udevadm trigger --subsystem-match=virtio-ports --action=add
udevadm settle
timeout 60 sh -c 'until systemctl is-active --quiet qemu-ga.service; do sleep 0.2; done'
systemctl status --no-pager qemu-ga.service
sync
"""


def prepare() -> Image:
    """The base image with qga installed from its wheel and started by systemd, from the cache if it is there."""
    base = build()
    with tempfile.TemporaryDirectory(prefix="qga-wheels-") as name:
        wheels = Path(name)
        say("building qga's wheel")
        make_wheel(wheels)
        key = hashlib.sha256((base.key + content(wheels) + INSTALL).encode()).hexdigest()[:16]
        with cached(f"dependencies-{dependencies_key()}") as (dependencies, filling):
            if filling:
                say("fetching the wheels that qga depends on")
                fetch_dependencies(filling)
        with cached(f"prepared-{key}") as (entry, filling):
            if filling:
                for wheel in dependencies.glob("*.whl"):
                    shutil.copy(wheel, wheels)
                say("booting the base image to install qga in it as README says: one or two minutes")
                install(base, wheels, filling / "root.qcow2")
    return replace(base, disk=entry / "root.qcow2", key=key)


def make_wheel(directory: Path) -> None:
    pip("wheel", "--no-deps", "--wheel-dir", str(directory), str(REPOSITORY))


def dependencies_key() -> str:
    return hashlib.sha256((REPOSITORY / "pyproject.toml").read_bytes()).hexdigest()[:16]


def fetch_dependencies(directory: Path) -> None:
    """Fetch them as wheels. python-daemon's lockfile and the like are pure, so those of any platform do."""
    with tempfile.TemporaryDirectory() as scratch:
        make_wheel(Path(scratch))
        (wheel,) = Path(scratch).glob("qga-*.whl")
        pip("download", "--only-binary=:all:", *GUEST_PYTHON, "--dest", str(directory), str(wheel))
    for own in directory.glob("qga-*.whl"):
        own.unlink()


def content(directory: Path) -> str:
    """Return a hash of the wheels, member by member, as the bytes of a zip file contain times."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.whl")):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                digest.update(name.encode() + b"\0" + archive.read(name))
    return digest.hexdigest()


def install(base: Image, wheels: Path, disk: Path) -> None:
    """Boot the base, install, shut down, and flatten what was written into one disk."""
    payload = wheels.with_suffix(".img")
    try:
        run("mke2fs", "-q", "-t", "ext4", "-L", "qga-payload", "-d", wheels, payload, PAYLOAD_SIZE)
        with Guest(base, disks=[Disk("virtio-blk-pci", path=payload)]) as guest:
            guest.boot()
            guest.check(INSTALL, timeout=300)
            guest.shutdown()
            run("qemu-img", "convert", "-O", "qcow2", guest.directory / "root.qcow2", disk)
    finally:
        payload.unlink(missing_ok=True)


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"pip {arguments[0]} exited {done.returncode}:\n{done.stdout}{done.stderr[-4000:]}")


if __name__ == "__main__":
    if complaint := missing_programs():
        sys.exit(complaint)
    print(prepare().disk)
