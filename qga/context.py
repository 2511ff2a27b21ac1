"""What a handler may touch. It is passed to every handler; there is no module-level state anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from qga.files import FileTable
from qga.linux.host import Host
from qga.policy import Policy
from qga.schema import Schema


@dataclass(frozen=True)
class Context:
    host: Host
    schema: Schema
    policy: Policy
    files: FileTable = field(default_factory=FileTable)
