"""The fuzz targets for a moment each, the same inputs every time, and the inputs that were findings.

``make fuzz`` takes its time, and draws other inputs at every run.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.fuzz.engines import inputs, run
from tests.fuzz.targets import TARGETS

FOUND = [
    ("interfaces", b"\0"),
    ("interfaces", bytes(16)),
    ("route", b"\neth0 0 0 0 0 0 0 x 0 0 0"),
    ("ipv6_route", b"fd 40 00 00 00 0 0 0 0 lo"),
    ("ipv6_route", b"fd%030d 40 %032d 00 %032d " % (0, 0, 0) + b"f" * 5000 + b" 0 0 0 lo"),
    ("mountinfo", b"22 1 8:1 / / - a a\n33 22 8:2 / / - b b\n22 33 8:3 / / - c c\n"),
    ("mounts", b"/\\000 / ext4 rw"),
    ("memory block size", b"x"),
    ("natural order", "1²".encode()),
    ("logind session", b"CLASS=user\nUSER=a\nREALTIME=" + b"9" * 400),
    ("cpustats", b"cpu0 1 2 3 " + b"9" * 5000),
    ("handle counter", b"[global]\nfd_counter=\\x"),
    ("device path", b"devices/pci0000:00/0000:00:00.0/ata0"),
    (
        "device path",
        b"devices/pci0000:00/0000:00:04.0/virtio1/host2/target2:0:0/2:0:0:" + b"9" * 5000 + b"/block/sdc",
    ),
    ("device path", b"devices/pci" + b"9" * 5000 + b":00/0000:00:03.0/virtio0/block/vda"),
    ("device path", b"devices/css" + b"f" * 5000 + b"/" + b"f" * 5000 + b".0.0001/0.0.1234/virtio1/block/vda"),
    ("diskstats", b"8 0 sda " + b"9" * 5000 + b" 2 3 4"),
    ("diskstats", b"8 0 sda " + b"9" * 400 + b" 2 3 4"),
    ("route", b"\neth0 0 0 0 " + b"9" * 400 + b" 0 0 0 0 0 0"),
    ("route", b"\neth0 0 0 0 0 1_0 0 0 0 0 0"),
    ("natural order", b"sd" + b"9" * 250),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_targets_survive_any_input(name: str) -> None:
    target = TARGETS[name]
    for seed in target.seeds:
        run(target, seed)

    @given(inputs(target))
    @settings(max_examples=300, deadline=None)
    def copes(data: bytes) -> None:
        run(target, data)

    copes()


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_earlier_findings_stay_fixed(name: str, data: bytes) -> None:
    run(TARGETS[name], data)
