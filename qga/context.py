"""What a handler may touch. It is passed to every handler; there is no module-level state anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from qga.config import Config, defaults
from qga.execs import Execs
from qga.files import FileTable
from qga.freeze import FreezeState
from qga.linux.host import Host
from qga.policy import Policy
from qga.processes import Workers
from qga.schema import Schema


@dataclass(frozen=True)
class Context:
    """``workers`` is for what may take long: ``await ctx.workers(work)``."""

    host: Host
    schema: Schema
    policy: Policy
    files: FileTable = field(default_factory=FileTable)
    execs: Execs = field(default_factory=Execs)
    freeze: FreezeState = field(default_factory=FreezeState)
    workers: Workers = field(default_factory=Workers)
    config: Config = field(default_factory=defaults)
