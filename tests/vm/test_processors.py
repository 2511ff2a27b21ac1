"""Processors and memory of a real guest, verified without the agent."""

from __future__ import annotations

import pytest

from tests.vm.guest import Guest
from tests.vm.peer import AgentError


def test_processor_goes_offline_and_comes_back(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        assert peer.call("guest-get-vcpus") == [
            {"logical-id": 0, "online": True, "can-offline": False},
            {"logical-id": 1, "online": True, "can-offline": True},
        ]
        assert peer.call("guest-set-vcpus", vcpus=[{"logical-id": 1, "online": False}]) == 1
        assert guest.check("nproc; cat /sys/devices/system/cpu/online").split() == ["1", "0"]
        assert [stats["cpu"] for stats in peer.call("guest-get-cpustats")] == [0]
        assert peer.call("guest-set-vcpus", vcpus=[{"logical-id": 1, "online": True}]) == 1
        assert guest.check("nproc").strip() == "2"
        with pytest.raises(AgentError, match="logical processor #0 can't be offlined"):
            peer.call("guest-set-vcpus", vcpus=[{"logical-id": 0, "online": False}])


def test_memory_blocks_are_those_that_the_kernel_has(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        blocks = peer.call("guest-get-memory-blocks")
        present = guest.check("ls -d /sys/devices/system/memory/memory[0-9]* | wc -l")
        assert len(blocks) == int(present)
        assert [block["phys-index"] for block in blocks] == sorted(block["phys-index"] for block in blocks)
        size = int(guest.check("cat /sys/devices/system/memory/block_size_bytes"), 16)
        assert peer.call("guest-get-memory-block-info") == {"size": size}
        missing = [{"phys-index": 99999, "online": True}]
        assert peer.call("guest-set-memory-blocks", mem_blks=missing) == [
            {"phys-index": 99999, "response": "not-found", "error-code": 2}
        ]


def test_load_and_times(guest: Guest) -> None:
    with guest.peer() as peer:
        peer.sync()
        load = peer.call("guest-get-load")
        shown = float(guest.check("cut -d' ' -f1 /proc/loadavg"))
        assert load["load1m"] == pytest.approx(shown, abs=0.5)
        first, second = peer.call("guest-get-cpustats"), peer.call("guest-get-cpustats")
        assert [stats["cpu"] for stats in first] == [0, 1]
        assert all(later["idle"] >= earlier["idle"] for earlier, later in zip(first, second, strict=True))
