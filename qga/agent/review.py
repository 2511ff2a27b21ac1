"""The review after a reload: open handles and running programs must satisfy the new policy, as if requested now.

The rule it keeps: no handle and no program outlives its permission. A handle whose file the new policy would not open
is closed. A program that the new policy would not start is ended with all processes that it started, and its output
is discarded. Each is reported in the log and in the audit log. Whatever cannot be judged counts as forbidden.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qga.agent.context import Context
from qga.protocol.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qga.agent.audit import NoAudit
    from qga.protocol.schema import Command

log = logging.getLogger(__name__)


def review_files(ctx: Context, audit: NoAudit) -> None:
    """Close the handles of files that the policy would not open now.

    Must not be called while filesystems are frozen: closing the last handle of a removed file writes to its
    filesystem.
    """
    command = ctx.schema.commands["guest-file-open"]
    for handle, file in ctx.files.opened():
        rule = _refusal(ctx, command, file.arguments, file.place())
        if rule is None:
            continue
        log.warning("handle %d of %s (mode %s) is closed: %s", handle, file.place(), file.arguments["mode"], rule)
        try:
            ctx.files.close(handle)
        except CommandError as error:
            log.error("handle %d: %s", handle, error)
        audit.revoked(command.name, rule, handle=handle)


def review_programs(ctx: Context, audit: NoAudit) -> None:
    """End the programs that the policy would not start now; forget those that have already ended."""
    command = ctx.schema.commands["guest-exec"]
    for program in ctx.programs.started():
        rule = _refusal(ctx, command, program.arguments, program.file)
        if rule is None:
            continue
        what = "is forgotten" if program.exited else "is ended"
        log.warning("program %d (%s) %s: %s", program.pid, program.file, what, rule)
        audit.revoked(command.name, rule, pid=program.pid)
        ctx.programs.revoke(program)


def _refusal(ctx: Context, command: Command, arguments: Mapping[str, object] | None, path: str) -> str | None:
    """Return the rule that would refuse a request now, or None. Never raises; an error while judging refuses, too."""
    try:
        return ctx.policy.review(command, arguments, path)
    except Exception as error:  # the remaining ones must still be judged
        return f"it cannot be judged: {type(error).__name__}: {error}"
