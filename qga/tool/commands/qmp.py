"""QEMU's own monitor, by qemu.qmp: which disks the machine has, and new files to write to from now on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from qga.tool.exits import MissingExtraError

CONNECT_TIMEOUT = 5.0  # seconds, for each answer but that to the snapshot


class Disk(NamedTuple):
    """A writable disk: its ``name``, all ``names`` that mean it, and its ``file``; ``by`` is what QMP calls it."""

    name: str
    names: frozenset[str]
    file: str
    by: Mapping[str, str]


class Monitor:
    """A connection to QEMU's monitor, in a ``with`` block. Every method raises OSError, with a sentence."""

    def __init__(self, address: str) -> None:
        """Take the path of a unix socket, or HOST:PORT; connect at the beginning of the block."""
        try:
            from qemu.qmp import QMPClient
        except ImportError as error:
            raise MissingExtraError("qemu.qmp is not installed: run pip install qga[host]") from error
        self._address = address
        self._runner = asyncio.Runner()
        self._qmp = QMPClient("qga")
        self._qmp.logger.disabled = True  # errors are raised

    def __enter__(self) -> Self:
        host, colon, port = self._address.rpartition(":")
        is_tcp = colon and port.isdecimal() and "/" not in self._address
        path = self._address.removeprefix("unix:")
        try:
            self._run(self._qmp.connect((host, int(port)) if is_tcp else path), CONNECT_TIMEOUT)
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            self._run(self._qmp.disconnect(), CONNECT_TIMEOUT)
        except OSError:
            pass
        finally:
            self._runner.close()

    def disks(self) -> list[Disk]:
        """Return the disks that the guest can write to."""
        found = []
        for one in self._run(self._qmp.execute("query-block"), CONNECT_TIMEOUT):
            inserted = one.get("inserted")
            if inserted is None or inserted["ro"]:
                continue
            device, node, path = one.get("device", ""), inserted.get("node-name", ""), one.get("qdev", "")
            names = [
                device,
                node,
                path.removeprefix("/machine/peripheral/").partition("/")[0],
                path,
                inserted["file"],
            ]
            by = {"device": device} if device else {"node-name": node}
            found.append(Disk(next(filter(None, names)), frozenset(filter(None, names)), inserted["file"], by))
        return found

    def snapshot(self, disks: Sequence[Disk], overlays: Sequence[str], timeout: float) -> None:
        """Have QEMU write to an overlay for each disk from one moment on. ``timeout``: seconds."""
        actions = []
        for number, (disk, overlay) in enumerate(zip(disks, overlays, strict=True)):
            data = {**disk.by, "snapshot-file": overlay, "format": "qcow2"}
            if "node-name" in disk.by:
                data["snapshot-node-name"] = f"qga-{os.urandom(4).hex()}-{number}"
            actions.append({"type": "blockdev-snapshot-sync", "data": data})
        self._run(self._qmp.execute("transaction", {"actions": actions}), timeout)

    def _run(self, work: Any, timeout: float) -> Any:
        from qemu.qmp import ExecuteError, QMPError

        async def bounded() -> Any:
            async with asyncio.timeout(timeout):
                return await work

        try:
            return self._runner.run(bounded())
        except TimeoutError:
            raise OSError(f"{self._address}: QEMU's monitor did not answer within {timeout:g} s") from None
        except ExecuteError as error:
            raise RefusedError(f"QEMU refused the request: {error}") from None
        except (QMPError, OSError, UnicodeError) as error:  # UnicodeError of a name that no host has
            raise OSError(f"{self._address}: cannot talk to QEMU's monitor: {_cause(error)}") from None


class RefusedError(OSError):
    """QEMU has answered with an error."""


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
