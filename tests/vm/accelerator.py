"""The accelerator for the test guests: KVM where it boots their kernel, else emulation."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

KVM = "/dev/kvm"
PROBE_TIMEOUT = 8.0  # seconds; with a KVM that works the kernel is up in one or two


@functools.cache
def accelerator(kernel: Path) -> str:
    """Return QEMU's name for it: QGA_VM_ACCEL, or what has just been tried out.

    A machine may have a /dev/kvm that boots no ordinary kernel, for which QEMU gives no sign but silence. So the
    guest's kernel is started without a root disk: where it runs, it panics soon, which ends QEMU.
    """
    if chosen := os.environ.get("QGA_VM_ACCEL"):
        return chosen
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    command += ["-machine", "pc", "-accel", "kvm", "-m", "512", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        tried = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return "tcg"
    return "kvm" if tried.returncode == 0 and b"Kernel panic" in tried.stdout else "tcg"
