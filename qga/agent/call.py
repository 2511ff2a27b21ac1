"""One request on its way through the agent: what was sent, what was decided, and the outcome.

The dispatcher creates a Call and fills it in; the audit log and the log of calls read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qga.agent.linux.pathwalk import Target
    from qga.protocol.schema import Command


class Entry:
    """What the audit log notes when a call begins: its number, the peer, and the time by two clocks.

    ``started`` is in seconds since 1970, ``begun`` in seconds of time.perf_counter().
    """

    __slots__ = ("begun", "peer", "seq", "started")

    def __init__(self, seq: int, peer: object, started: float, begun: float) -> None:
        self.seq, self.peer, self.started, self.begun = seq, peer, started, begun


class Call:
    """A request, from the message to the reply.

    ``message`` is the JSON object that was received, in ``size`` bytes; ``arguments`` are unchecked until admission
    has validated them; ``command`` is None until it is found. ``rule`` is what allows or refuses the call,
    ``target`` the file that a rule looked at, held open until the handler returns. ``entry`` belongs to the audit
    log and is None without one. ``result`` is what the handler returned, and ``reply`` the line to send, or None for
    a command that does not answer on success.

    A call does not keep its error: an exception refers to the frames that it passed through, and they refer to the
    call. That cycle would keep a large request in memory until the next garbage collection.
    """

    __slots__ = (
        "arguments",
        "command",
        "entry",
        "message",
        "reply",
        "result",
        "rule",
        "size",
        "target",
    )

    def __init__(self, message: Mapping[str, Any], size: int) -> None:
        self.message, self.size = message, size
        self.command: Command | None = None
        self.arguments: Any = message.get("arguments", {})
        self.rule: str | None = None
        self.target: Target | None = None
        self.entry: Entry | None = None
        self.result: object = None
        self.reply: bytes | None = None
