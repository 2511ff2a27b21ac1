"""The context: the parts of the agent that a handler may use. Every handler gets it; no module keeps global state."""

from __future__ import annotations

import sys
from copy import copy
from typing import TYPE_CHECKING

from qga.agent.config import Config
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.agent.processes import Workers
from qga.agent.state.freezer import Freezer
from qga.agent.state.handles import FileTable
from qga.agent.state.programs import Programs
from qga.protocol.schema import Schema

if TYPE_CHECKING:
    from qga.agent.linux.pathwalk import Target
    from qga.agent.policy.rules import Rules


class Context:
    """The parts of the agent. ``workers`` runs work that may take long: ``await ctx.workers(work)``.

    ``target`` is the file that the policy checked for this request; handlers must use it instead of the path. It is
    None if no rule looked at the file.
    """

    def __init__(
        self,
        *,
        host: Host,
        schema: Schema,
        policy: Policy,
        files: FileTable,
        programs: Programs,
        freezer: Freezer,
        workers: Workers,
        config: Config,
    ) -> None:
        self.host = host
        self.schema = schema
        self.policy = policy
        self.files = files
        self.programs = programs
        self.freezer = freezer
        self.workers = workers
        self.config = config
        self.target: Target | None = None

    def about(self, target: Target) -> Context:
        """Return a copy of the context for a request whose file the policy checked."""
        other = copy(self)
        other.target = target
        return other

    def configure(self, config: Config, rules: Rules | None) -> None:
        """Apply a new configuration. qga.agent.review deals with open files and running programs."""
        self.policy.configure(config.allow_rpcs, config.block_rpcs, rules)
        self.files.limit = config.max_handles
        self.programs.limit(config.max_execs, config.max_captured)
        self.freezer.configure(config)
        self.config = config


_BESIDE_PAYLOAD = 512  # bytes of a reply that are not payload: the other members, and a short id


def payload_room(config: Config) -> int:
    """Return how many bytes of payload, encoded in base64, fit into a reply of ``max-reply`` bytes."""
    return max(1, (config.max_reply - _BESIDE_PAYLOAD) // 4 * 3) if config.max_reply else sys.maxsize
