"""``--explain``: would this request be allowed, and by which rule?"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from qga.agent import config
from qga.agent.binding import bind
from qga.agent.config import Loaded, reload
from qga.agent.config.options import NAMES, OPTIONS
from qga.agent.context import Context
from qga.agent.dispatch import Dispatcher
from qga.agent.linux.host import Host
from qga.agent.loop import Loop
from qga.agent.processes import Children, Workers, run_helper
from qga.agent.state.freeze import FreezeState
from qga.agent.state.freezer import Freezer
from qga.agent.state.handles import FileTable
from qga.agent.state.programs import Programs
from qga.protocol import schema
from qga.protocol.errors import RequestError
from qga.protocol.wire import Decoder

_LISTS = [option.key for option in OPTIONS if option.kind is NAMES]


def explain(loaded: Loaded, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether the request of --explain is allowed while nothing is frozen, and lines that say why.

    Raises RequestError for what is not a request, CommandNotFound for an unknown command; ConfigError, PolicyError.
    """
    wanted, commands = loaded.config, schema.load()
    policy = reload.complete(wanted, commands).policy(commands)
    with Loop() as loop:
        host, workers = Host(run=run_helper, which=shutil.which), Workers(loop)
        context = Context(
            host=host,
            schema=commands,
            policy=policy,
            files=FileTable(),
            programs=Programs(loop, Children(), lambda pid, code: None),
            freezer=Freezer(loop, workers, host, FreezeState(), wanted),
            workers=workers,
            config=wanted,
        )
    messages = list(Decoder().feed(loaded.given.request.encode(errors="surrogateescape") + b"\n"))
    if len(messages) != 1:
        raise RequestError(f"expected one request, not {len(messages)}")
    decision = Dispatcher(context, bind(commands)).judge(messages[0])
    rule = config.places_of(decision.rule, loaded.given, environ) if decision.rule in _LISTS else decision.rule
    lines = [f"{'allowed' if decision.allowed else 'denied'}: {rule}"]
    if (target := decision.target) is not None:
        found_at = target.path or "no path"
        lines.append(f"path: {found_at}" + (f" ({target.error.strerror})" if target.error is not None else ""))
        target.close()
    return decision.allowed, "".join(f"{line}\n" for line in lines)
