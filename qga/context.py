"""What a handler may touch. It is passed to every handler; there is no module-level state anywhere."""

from __future__ import annotations

import sys

from qga.config import Config, defaults
from qga.execs import Execs
from qga.files import FileTable
from qga.freeze import FreezeState
from qga.linux.host import Host
from qga.policy import Policy
from qga.processes import Workers
from qga.schema import Schema


class Context:
    """``workers`` is for what may take long: ``await ctx.workers(work)``."""

    def __init__(
        self,
        host: Host,
        schema: Schema,
        policy: Policy,
        files: FileTable | None = None,
        execs: Execs | None = None,
        freeze: FreezeState | None = None,
        config: Config | None = None,
    ) -> None:
        self.host = host
        self.schema = schema
        self.policy = policy
        self.files = files or FileTable()
        self.execs = execs or Execs()
        self.freeze = freeze or FreezeState()
        self.workers = Workers()
        self.config = config or defaults()


_BESIDE_PAYLOAD = 512  # bytes of a reply: the members around it, and a short id


def payload_room(config: Config) -> int:
    """Bytes that fit into a reply in base64, by ``max-reply``."""
    return max(1, (config.max_reply - _BESIDE_PAYLOAD) // 4 * 3) if config.max_reply else sys.maxsize
