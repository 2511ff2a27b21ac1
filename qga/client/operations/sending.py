"""One file of this machine on its way to the guest."""

from __future__ import annotations

from typing import Any, BinaryIO

from qga.client.operations import transfer
from qga.client.operations.files import File
from qga.client.operations.outcome import Count, Outcome, Progress


class Sending:
    """``size``: in bytes, 0 if it is not known. ``verify``: whether hashes are to be compared."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress | None, verify: bool) -> None:
        self.file, self.size, self.verify = file, size, verify
        self.outcome = Outcome()
        self._progress = progress

    async def send(self, target: File, digest: Any) -> None:
        """Write all behind ``outcome.resumed``, which the target has; ``digest`` is of the whole."""
        count = Count(self.outcome.resumed, self.size, self._progress, digest)
        if count.done:
            count.hash_start(self.file)
            await target.seek(count.done)
        await transfer.send(self.file, target, count)
        self.outcome.size = count.done
