"""``--explain``: reports whether a request would be allowed, and which rule decides."""

from __future__ import annotations

from collections.abc import Mapping

from qga.agent import config
from qga.agent.admission import Admission
from qga.agent.binding import bind
from qga.agent.config import Loaded, reload
from qga.agent.config.options import NAMES, OPTIONS
from qga.protocol import schema
from qga.protocol.errors import RequestError
from qga.protocol.wire import Decoder

_LISTS = [option.key for option in OPTIONS if option.kind is NAMES]


def explain(loaded: Loaded, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether the request given with --explain is allowed while nothing is frozen, and lines that say why.

    Raises RequestError if the text is not a request, CommandNotFound for an unknown command, and ConfigError or
    PolicyError if the configuration is not valid.
    """
    wanted, commands = loaded.config, schema.load()
    policy = reload.complete(wanted, commands).policy(commands)
    messages = list(Decoder().feed(loaded.given.request.encode(errors="surrogateescape") + b"\n"))
    if len(messages) != 1:
        raise RequestError(f"expected one request, not {len(messages)}")
    decision = Admission(commands, policy, bind(commands)).judge(messages[0])
    rule = config.places_of(decision.rule, loaded.given, environ) if decision.rule in _LISTS else decision.rule
    lines = [f"{'allowed' if decision.allowed else 'denied'}: {rule}"]
    if (target := decision.target) is not None:
        found_at = target.path or "no path"
        lines.append(f"path: {found_at}" + (f" ({target.error.strerror})" if target.error is not None else ""))
        target.close()
    return decision.allowed, "".join(f"{line}\n" for line in lines)
